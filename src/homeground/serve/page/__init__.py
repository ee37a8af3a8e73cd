"""The page that `homeground serve` shows in a browser: its files, and the JSON that only it reads.

No build step and nothing from elsewhere: plain HTML, CSS and ES modules in `files/`. They hold no data and are open to
anyone; whatever they show comes over routes behind the key, which the page reads from the fragment of its address.
"""

from homeground.serve.page.routes import page_routes

__all__ = ["page_routes"]
