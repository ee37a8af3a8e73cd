from ..policy.conftest import _one_thread, llama, policy

__all__ = ["_one_thread", "llama", "policy"]
