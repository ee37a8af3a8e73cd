"""Serving what was trained: one loopback process with the model server and search."""

from homeground.serve.app import create_app, serve_forever

__all__ = ["create_app", "serve_forever"]
