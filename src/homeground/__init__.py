"""Homeground: train a small local model on your own code and docs, and measure every gain."""

__version__ = "0.1.0"
