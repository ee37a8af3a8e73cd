"""How the documentation's site is made, and how its tutorial is tested."""
