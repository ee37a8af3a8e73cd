"""Rollouts: the sampler, the model server, the Agent Lightning gateway, and the trajectories that come out.

The names in `__init__.pyi` are imported lazily, on first use: the sampler and the direct source need no HTTP.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
