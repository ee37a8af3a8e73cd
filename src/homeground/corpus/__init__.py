"""Folders of code and documents as chunks with names and line numbers.

The names in `__init__.pyi` are imported lazily, on first use.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
