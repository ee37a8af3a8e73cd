"""Training loops over the token forest: supervised fine-tuning, preferences, and GRPO with its kin.

The names in `__init__.pyi` are imported lazily, on first use, so that settings (`config`) need no torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
