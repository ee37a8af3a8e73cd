"""Search over a corpus: dense vectors and BM25, fused, and reranked where that helps.

The names in `__init__.pyi` are imported lazily, on first use.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
