"""Serving: models, search and a page over HTTP (`app`), and the index's tools over MCP (`mcp_server`)."""
