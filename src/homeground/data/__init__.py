"""Training data: rows from many places, cleaned and mixed before they are trained on.

The names in `__init__.pyi` are imported lazily, on first use.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
