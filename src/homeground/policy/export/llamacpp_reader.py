"""Asks llama.cpp (through ``xllamacpp``) what a GGUF file says; run as a program of its own.

llama.cpp aborts the whole process when something is badly wrong with a file, and it has threads of its own: neither
should happen to whoever exports. Reads one JSON request on stdin, writes one JSON answer as the last line of stdout.
It imports nothing of Homeground, so that it starts at once.
"""

from __future__ import annotations

import json
import secrets
import sys
import urllib.error
import urllib.request
from typing import Any

import xllamacpp

_CONTEXT = 2048


def _server(file: str, threads: int, key: str) -> Any:
    llama_cpp: Any = xllamacpp  # compiled: it has no types
    settings = llama_cpp.CommonParams()
    settings.model.path = file
    settings.port = 0
    settings.api_keys = [key]
    settings.n_ctx = _CONTEXT
    settings.n_parallel = 1
    settings.n_gpu_layers = 0
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = threads
    settings.warmup = settings.fit_params = settings.ui = False
    settings.verbosity = -1
    return llama_cpp.Server(settings)


def _answers(request: dict[str, Any]) -> dict[str, Any]:
    key = secrets.token_hex(16)
    server = _server(request["file"], request["threads"], key)

    def ask(path: str, body: dict[str, Any]) -> dict[str, Any]:
        heads = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
        call = urllib.request.Request(server.listening_address + path, json.dumps(body).encode(), heads)
        try:
            with urllib.request.urlopen(call, timeout=300) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as refused:
            return {"refused": refused.read().decode(errors="replace")}

    def tokens(text: str) -> list[int] | None:
        return ask("/tokenize", {"content": text, "add_special": True, "parse_special": True}).get("tokens")

    def completed(prompt: list[int], tokens: int) -> dict[str, Any]:
        body = {"prompt": prompt, "n_predict": tokens, "n_probs": request["n_probs"], "temperature": 0}
        return ask("/completion", {**body, "cache_prompt": True, "return_tokens": True})

    def top(prompt: list[int]) -> list[list[float]]:
        # A token that ends in the middle of a letter has no entry, so one is asked for at a time.
        steps = completed(prompt, 1).get("completion_probabilities") or []
        return [[token["id"], token["logprob"]] for token in steps[0]["top_logprobs"]] if steps else []

    return {
        "tokens": [tokens(text) for text in request["texts"]],
        "rendered": [
            ask("/apply-template", {"messages": messages}).get("prompt") for messages in request["conversations"]
        ],
        "top": [[top(row[:length]) for length in lengths] for row, lengths in request["rows"]],
        "greedy": [completed(row, request["n_predict"])["tokens"] for row, _ in request["rows"]],
    }


if __name__ == "__main__":
    print(json.dumps(_answers(json.load(sys.stdin))))
