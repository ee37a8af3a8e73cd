"""Homeground: train a small local model on your own code and docs, and measure every gain.

The names in `__init__.pyi` are imported lazily, on first use, so that ``import homeground`` and the command start fast.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
