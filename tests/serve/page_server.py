"""What the page's tests look at: a workspace with an index and two runs, served by the command, and a browser."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from homeground.base.files import atomic_write_jsonl
from homeground.evaluate import write_metrics
from homeground.index import Index
from homeground.recipe import load_recipe
from homeground.runs.rolloutlog import RolloutLog
from homeground.runs.workspace import Workspace, open_workspace
from tests.corpus.village import write_village
from tests.evaluate.example_run import example_group, example_metrics, example_steps
from tests.servers import command_server

HOSTILE = "<img src=x onerror=alert(1)>.py"
"""A file name, and the text of that file, which would run if it became markup."""

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def write_workspace(folder: Path) -> Workspace:
    """An indexed village with something left out, and the made-up run `measured` with rollouts of three steps."""
    village = write_village(folder / "village")
    (village / ".gitignore").write_text("hidden.py\n")
    (village / "hidden.py").write_text("def hidden():\n    pass\n")
    (village / "icon.bin").write_bytes(b"\0\1\2")
    (village / HOSTILE).write_text(f'def hostile_markup():\n    """Return {HOSTILE} as it stands."""\n')
    workspace = open_workspace(folder / ".homeground")
    Index.build(workspace.index, [village])[0].close()
    run = workspace.run("measured").create()
    atomic_write_jsonl(run.metrics_jsonl, example_steps())
    write_metrics(run.metrics, example_metrics())
    run.recipe.write_text(load_recipe(None, {"rl": {"steps": 12}}).to_yaml())
    keep = RolloutLog(run, done=0)
    for step in (1, 2, 25):
        keep(step, [example_group(step, number, [0.0, 1.0, 0.2, 0.2], text=HOSTILE) for number in range(2)])
    run.finish("rl", seconds=3725.0)
    return workspace


ANSWER = ("It", " is", " raised", " step", " by", " `heat_up`", " [1]", " and", " never", " lowered", " [7]", ".")
"""What the model of the run `mine` writes, whatever it is asked: with a citation that exists, and one that does not."""


def taught(folder: Path) -> Path:
    """A tiny model that always writes ANSWER: its attention says nothing, so a token follows from the one before."""
    import torch
    from transformers import AutoModelForCausalLM

    from tests.policy import tiny

    tokenizer = tiny.tokenizer()
    tokenizer.add_tokens(list(ANSWER))
    torch.manual_seed(0)
    config = tiny.llama_config(vocab_size=len(tokenizer), max_position_embeddings=4096)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    for layer in model.model.layers:
        torch.nn.init.zeros_(layer.self_attn.o_proj.weight).requires_grad_(False)
    said = [tokenizer.encode("\n")[-1], *tokenizer.convert_tokens_to_ids(list(ANSWER)), tokenizer.eos_token_id]
    pairs = torch.tensor([[one, then] for one, then in itertools.pairwise(said)])
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(pairs[:, :1]).logits[:, -1], pairs[:, 1]).backward()
        optimizer.step()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_model(workspace: Workspace, folder: Path) -> None:
    """The run `mine` on that model, as `homeground sft` leaves one."""
    from tests.policy import tiny

    model = taught(folder / "tiny")
    run = workspace.run("mine").create()
    tiny.policy_of(model).save_adapter(run.adapter)
    settings = {"name": str(model), "quantization": "none", "compute_dtype": "fp32"}
    run.recipe.write_text(load_recipe(None, {"model": settings}).to_yaml())
    run.finish("sft")


@contextmanager
def serving(workspace: Workspace, run: str = "mine") -> Iterator[dict[str, str]]:
    """`homeground serve` over a run, a process of its own; gives what it announced."""
    environment = {**os.environ, "HOMEGROUND_HOME": str(workspace.path)}
    with command_server("serve", "--run", run, env=environment) as (event, _):
        yield event


@dataclass
class Visit:
    """A page in the browser, and all that went wrong in it."""

    page: Any
    address: str
    problems: list[str] = field(default_factory=list)

    def open(self, view: str) -> None:
        """Go to `#/VIEW`, as a link would."""
        self.page.evaluate("to => { location.hash = to }", f"#/{view}")

    def watch(self) -> None:
        """Note errors, and whatever is asked of another server."""
        self.page.on("console", lambda said: said.type in ("error", "warning") and self.problems.append(said.text))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("dialog", lambda dialog: self.problems.append(f"dialog: {dialog.message}"))
        self.page.on("request", self._asked)

    def _asked(self, request: Any) -> None:
        if not request.url.startswith((self.address.split("#", maxsplit=1)[0], "data:")):
            self.problems.append(f"asked elsewhere: {request.url}")

    def accessible(self) -> list[str]:
        """What axe finds wrong with what is on the screen, a line each."""
        from axe_playwright_python.sync_playwright import Axe

        found = Axe().run(self.page).response["violations"]
        return [f"{one['id']}: {node['target']} {node['failureSummary']}" for one in found for node in one["nodes"]]


@contextmanager
def browsing() -> Iterator[Any]:
    """Chromium from the system's packages, without a window."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: 'make browser' says how to get one")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(_FLAGS))
        try:
            yield browser
        finally:
            browser.close()
