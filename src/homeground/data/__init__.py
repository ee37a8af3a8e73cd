"""Training data: conversations on disk, and their way to trained tokens."""

from homeground.data.conversations import load_conversations, render_examples, save_conversations

__all__ = ["load_conversations", "render_examples", "save_conversations"]
