"""Serving: the trained model and search on loopback (`app`), and the index's tools over MCP (`mcp_server`)."""
