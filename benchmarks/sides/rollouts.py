"""Rollouts through the gateway under load and under fire: ``python -m benchmarks.sides.rollouts --part P --out FILE``.

The model is a small one of random weights: what is measured is everything beside sampling.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import textwrap
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from homeground import Reward
from homeground.policy import Policy
from homeground.rollouts import (
    Gateway,
    GatewayClient,
    GatewaySource,
    ModelServer,
    ProcessRunner,
    Program,
    Sampler,
    Trajectory,
)
from homeground.rollouts.gateway import RolloutState

CALLS, WARM_UP = 200, 20
PROMPT_WORDS, ANSWER_TOKENS = 150, 32
TURNS = 2
AGENT = """
    import json, os, time, urllib.request

    began, task = time.time(), json.loads(os.environ["HOMEGROUND_TASK"])
    messages = [{"role": "user", "content": task}]
    for turn in range(2):
        body = json.dumps({"model": "m", "messages": messages, "max_tokens": 6}).encode()
        headers = {"Authorization": "Bearer " + os.environ["OPENAI_API_KEY"], "Content-Type": "application/json"}
        url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
        answer = json.load(urllib.request.urlopen(urllib.request.Request(url, body, headers)))
        messages.append({"role": "assistant", "content": answer["choices"][0]["message"]["content"]})
        messages.append({"role": "user", "content": "go on"})
        time.sleep(0.5)
    print(json.dumps([began, time.time()]))
"""


class TimedEngine:
    """An engine that notes how long each request was with it, by the request's seed."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler
        self.seconds: dict[int, float] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sampler, name)

    def submit(self, prompt_ids: Sequence[int], max_tokens: int, params: Any = None, *others: Any, **named: Any) -> Any:
        began = time.perf_counter()
        future = self._sampler.submit(prompt_ids, max_tokens, params, *others, **named)
        future.add_done_callback(lambda _: self.seconds.__setitem__(params.seed, time.perf_counter() - began))
        return future


def overhead(policy: Policy, at_once: int, calls: int = CALLS, words: int = PROMPT_WORDS) -> dict[str, float]:
    """Milliseconds of a call that were not sampling: client, gateway and server together; 50th and 95th percentile.

    Args:
        policy: that answers.
        at_once: callers, each with one call at a time.
        calls: that are measured, of all callers together.
        words: of a prompt.
    """
    text = " ".join(f"word{number}" for number in range(words))

    async def measured(gateway: Gateway, server: ModelServer, engine: TimedEngine) -> list[float]:
        spent: list[float] = []
        seeds = iter(range(1, WARM_UP + calls + at_once))
        async with httpx.AsyncClient(timeout=60) as http:
            desk = GatewayClient(gateway, http)
            await desk.register_model(server.model, server.endpoint, 0)

            async def caller(number: int) -> None:
                name = f"caller-{number}"
                await desk.create(name, "x", train=True, timeout_s=600)
                await desk.set_state(name, RolloutState.RUNNING)
                url = f"{desk.agent_url(name, train=True)}/chat/completions"
                headers = {"Authorization": f"Bearer {gateway.key}"}
                for seed in seeds:
                    message = {"role": "user", "content": f"{number} {seed} {text}"}
                    body = {"model": "m", "messages": [message], "max_tokens": ANSWER_TOKENS, "seed": seed}
                    began = time.perf_counter()
                    response = await http.post(url, json=body, headers=headers)
                    took = time.perf_counter() - began
                    assert response.status_code == 200, response.text
                    if seed > WARM_UP:
                        spent.append(1000 * (took - engine.seconds[seed]))
                    if seed >= WARM_UP + calls:
                        return

            await asyncio.gather(*map(caller, range(at_once)))
        return spent

    with Gateway() as gateway, Sampler(policy, rows=max(8, at_once), cache_mb=64) as sampler:
        engine = TimedEngine(sampler)
        with ModelServer(engine, policy.tokenizer) as server:  # type: ignore[arg-type]
            spent = sorted(asyncio.run(measured(gateway, server, engine)))
    cuts = statistics.quantiles(spent, n=100, method="inclusive")
    return {"p50_ms": cuts[49], "p95_ms": cuts[94], "worst_ms": spent[-1], "calls": len(spent)}


async def two_turns(task: str, client: Any) -> Reward:
    """Asks, thinks, asks again with the answer in its history."""
    messages = [{"role": "user", "content": task}]
    for _ in range(TURNS):
        answer = await client.chat.completions.create(model="m", messages=messages, max_tokens=6)
        messages.append({"role": "assistant", "content": answer.choices[0].message.content})
        messages.append({"role": "user", "content": "go on"})
        await asyncio.sleep(random.uniform(0.2, 0.4))
    return Reward(1.0)


def crowd(policy: Policy, inline: int = 64, programs: int = 8) -> dict[str, Any]:
    """Many rollouts at once, by both runners: how many really ran at the same time, and what came of them."""
    spans: list[tuple[float, float]] = []

    async def noted(task: str, client: Any) -> Reward:
        began = time.time()
        try:
            return await two_turns(task, client)
        finally:
            spans.append((began, time.time()))

    with running(policy) as (gateway, server), agent_script() as script:
        with GatewaySource(gateway, server, noted, timeout_s=300, concurrency=inline) as source:
            first = Tally()
            first.add(source.collect([f"task-{n}." for n in range(inline // 4)], 4, step=0), policy, inline)
        runner = ProcessRunner(Program([str(script)]), size=programs)
        with GatewaySource(gateway, server, runner, grade=graded, timeout_s=300) as source:
            second = Tally()
            found = source.collect([f"task-{n}." for n in range(programs)], 2, step=1)
            second.add(found, policy, 2 * programs)
        ran = [tuple(json.loads(t.outcome)) for t in found if t.outcome]
    return {
        "inline": {"asked": inline, "at_once": overlap(spans), **first.told()},
        "process": {"asked": 2 * programs, "at_once": overlap(ran), **second.told()},
    }


def overlap(spans: Sequence[tuple[float, float]]) -> int:
    """The most of them that hold at one moment."""
    moments = sorted([(began, 1) for began, _ in spans] + [(ended, -1) for _, ended in spans])
    running = most = 0
    for _, change in moments:
        running += change
        most = max(most, running)
    return most


def graded(task: str, outcome: str) -> float:
    """A program that ended well is worth one."""
    return 1.0


class Tally:
    """What became of rollouts: each wanted one must come back once, with its own calls and no other's."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.endings: Counter[str] = Counter()
        self.lost = self.doubled = self.mixed_up = self.retried = 0

    def add(self, trajectories: Sequence[Trajectory], policy: Policy, wanted: int) -> None:
        """Take a step's rollouts."""
        self.lost += wanted - len(trajectories)
        for t in trajectories:
            self.doubled += t.rollout_id in self.names
            self.names.add(t.rollout_id)
            self.endings[t.shortcoming or "succeeded"] += 1
            self.retried += t.retried_calls
            mine = all(f"task-{t.task}." in str(policy.tokenizer.decode(list(turn.prompt_ids))) for turn in t.turns)
            right = len(t.turns) == TURNS if t.shortcoming is None else len(t.turns) <= TURNS
            self.mixed_up += not (mine and right)

    def told(self) -> dict[str, Any]:
        """The counts."""
        counts = {"lost": self.lost, "doubled": self.doubled, "mixed_up": self.mixed_up, "retried": self.retried}
        return {"rollouts": len(self.names), **counts, "endings": dict(self.endings)}


@dataclass(frozen=True)
class Campaign:
    """How much, and how many faults.

    Attributes:
        inline, process: steps of each runner, and rollouts of one step.
        faults: steps of each runner that are hit; an inline step's faults are gateway and server in turn, a program's
            are agent, gateway and server.
        seed: of when and whom.
    """

    inline: tuple[int, int] = (23, 40)
    process: tuple[int, int] = (8, 10)
    faults: tuple[int, int] = (16, 8)
    seed: int = 0


def under_fire(policy: Policy, campaign: Campaign) -> dict[str, Any]:
    """Rollouts while agents, gateway and model server are killed; what ended how, and what was left behind."""
    chance = random.Random(campaign.seed)
    before, began = footprint(), time.perf_counter()
    tally, hits = Tally(), Counter[str]()
    with running(policy) as (gateway, server), agent_script() as script, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        steps, size = campaign.inline
        with GatewaySource(gateway, server, two_turns, timeout_s=120) as source:
            kinds = ["gateway", "server"]
            for step in range(steps):
                kind = kinds[step % 2] if step < campaign.faults[0] else None
                with fault(kind, chance, gateway, server, None, hits):
                    tasks = [f"task-{n}." for n in range(size // 4)]
                    tally.add(source.collect(tasks, 4, step), policy, size)
            restarts, revivals = source.restarts, source.revivals
        steps, size = campaign.process
        runner = ProcessRunner(Program([str(script)]), size=8)
        with GatewaySource(gateway, server, runner, grade=graded, timeout_s=120) as source:
            kinds = ["agent", "gateway", "server"]
            for step in range(steps):
                kind = kinds[step % 3] if step < campaign.faults[1] else None
                with fault(kind, chance, gateway, server, runner, hits):
                    tasks = [f"task-{n}." for n in range(size // 2)]
                    tally.add(source.collect(tasks, 2, step), policy, size)
            restarts, revivals = restarts + source.restarts, revivals + source.revivals
    after = footprint()
    return {
        **tally.told(),
        "faults": dict(hits),
        "gateway_restarts": restarts,
        "server_revivals": revivals,
        "left_behind": {name: sorted(after[name] - before[name]) for name in after},
        "seconds": time.perf_counter() - began,
    }


@contextlib.contextmanager
def fault(
    kind: str | None,
    chance: random.Random,
    gateway: Gateway,
    server: ModelServer,
    runner: ProcessRunner | None,
    hits: Counter[str],
) -> Iterator[None]:
    """Kill something at a random moment while the body runs; counted only when it was hit."""
    delay, over = chance.uniform(0.05, 0.4), threading.Event()

    def strike() -> None:
        over.wait(delay)
        while not over.is_set():
            if struck(kind, gateway, server, runner):
                hits[str(kind)] += 1
                return
            time.sleep(0.05)

    thread = threading.Thread(target=strike if kind else over.wait, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def struck(kind: str | None, gateway: Gateway, server: ModelServer, runner: ProcessRunner | None) -> bool:
    """Whether there was something to kill."""
    if kind == "gateway":
        os.kill(gateway.process_id, signal.SIGKILL)
        return True
    if kind == "server":
        # An exception out of nowhere in the middle of its event loop: as abrupt as a thread can end. Where it strikes a
        # callback of the parser it is taken for a bad request, so it may need another.
        thread = server._thread
        while thread.is_alive():
            ident = ctypes.c_ulong(thread.ident or 0)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(SystemExit))
            thread.join(0.3)
        return True
    agents = [process for process in psutil.process_iter() if runner is not None and runner.owns(process)]
    with contextlib.suppress(psutil.NoSuchProcess, IndexError):
        agents[0].kill()
        return True
    return False


def footprint() -> dict[str, set[str]]:
    """What this process holds: children, ports that it or they listen on, and files of ours in the temporary folder."""
    me = psutil.Process()
    family = [me, *me.children(recursive=True)]
    ports = {
        f"{c.laddr.ip}:{c.laddr.port}" for p in family for c in p.net_connections() if c.status == psutil.CONN_LISTEN
    }
    files = {path.name for path in Path(tempfile.gettempdir()).glob(f"homeground-*-{os.getpid()}-*")}
    marked = {f"{p.pid} {p.name()}" for p in family[1:] if p.status() != psutil.STATUS_ZOMBIE}
    return {"processes": marked, "ports": ports, "files": files}


@contextlib.contextmanager
def running(policy: Policy) -> Iterator[tuple[Gateway, ModelServer]]:
    """A gateway and a model server."""
    with (
        Gateway() as gateway,
        Sampler(policy, rows=32, cache_mb=64) as sampler,
        ModelServer(sampler, policy.tokenizer) as server,
    ):
        yield gateway, server


@contextlib.contextmanager
def agent_script() -> Iterator[Path]:
    """The program that plays the agent; it needs nothing but Python."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "agent.py"
        script.write_text(textwrap.dedent(AGENT))
        yield script


def main() -> None:
    """One part, in a process of its own."""
    from benchmarks.plan import random_model
    from homeground.policy import LoraConfig, ModelConfig, Policy

    parser = argparse.ArgumentParser()
    parser.add_argument("--part", choices=("overhead-1", "overhead-8", "crowd", "faults"), required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    # A model server that is killed says so on stderr.
    threading.excepthook = lambda _: None
    with tempfile.TemporaryDirectory() as folder:
        name = str(random_model("small", Path(folder)))
        policy = Policy.load(ModelConfig(name=name, device="cpu", lora=LoraConfig(r=4, alpha=8)))
        match options.part:
            case "crowd":
                found = crowd(policy)
            case "faults":
                found = under_fire(policy, Campaign())
            case part:
                found = overhead(policy, int(part.removeprefix("overhead-")))
    options.out.write_text(json.dumps(found))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
