"""A small server of everything: random models of a second's training, a real index, a real socket."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import openai

from homeground.index import Index
from homeground.pipeline.serving import Serving
from homeground.recipe import Recipe, load_recipe
from homeground.runs.workspace import Workspace, open_workspace
from homeground.serve.app import create_app
from tests.corpus.village import write_village
from tests.policy import tiny
from tests.servers import listening

TOKEN = "a-token-for-tests-only"
CONTEXT = 1024


def tiny_model(folder: Path) -> Path:
    """A random model whose context holds a few passages."""
    return tiny.build(folder, tiny.llama_config(max_position_embeddings=CONTEXT))


def recipe_of(model: Path, **serve: object) -> Recipe:
    fields = {"name": str(model), "quantization": "none", "compute_dtype": "fp32", "device": "cpu"}
    return load_recipe(None, {"model": fields, "serve": {"cache_mb": 12, **serve}})


def indexed(folder: Path) -> Workspace:
    """A workspace whose index holds the village."""
    workspace = open_workspace(folder / "home")
    Index.build(workspace.index, [write_village(folder / "village")])
    return workspace


def adapter_of(model: Path, folder: Path, seed: int) -> Path:
    """An adapter that changes what is said."""
    tiny.policy_of(model, seed=seed).save_adapter(folder)
    return folder


@dataclass
class Server:
    """One that runs."""

    root: str
    serving: Serving

    def http(self, **options: object) -> httpx.Client:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        return httpx.Client(base_url=self.root, headers=headers, timeout=60, **options)

    def openai(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.root}/v1", api_key=TOKEN, max_retries=0, timeout=60)


@contextmanager
def running(serving: Serving) -> Iterator[Server]:
    """Serve in a thread, on a free port."""
    with serving, listening(create_app(serving, TOKEN)) as root:
        yield Server(root, serving)
