"""What comes out of a run: its adapter, a merged model, a GGUF file, an Ollama model, and how near they are to it."""
