"""Training data: rows of many formats from many places, and their way to trained tokens.

The names in `__init__.pyi` are imported lazily, on first use.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
