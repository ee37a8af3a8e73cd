"""The policy: one open model, its quantized base, its adapters, and its log-probabilities over token forests.

The names in `__init__.pyi` are imported lazily, on first use, so that settings (`config`) need no torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
