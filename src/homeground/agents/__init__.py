"""The agents that ship; they get their tools as arguments and speak the chat-completions API.

The names in `__init__.pyi` are imported lazily, on first use.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
