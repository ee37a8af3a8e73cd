"""vLLM as an engine, for machines where it runs: optional, imported only when it is constructed.

Written against the source of vLLM's ``AsyncLLM`` and ``LoRARequest`` (0.11 and later), and not run by this project
yet: no machine with a GPU that vLLM supports was at hand. Its log-probabilities come from other kernels than the
trainer's: watch ``logprob_gap`` in the metrics.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from homeground.base.errors import HomegroundError
from homeground.policy.load import Policy
from homeground.rollouts.engine import Engine, FinishReason, Generation, SamplingRequest
from homeground.rollouts.heads import context_of

KEPT_ADAPTERS = 2
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)


class VllmEngine(Engine):
    """Samples a policy with vLLM; use it as a context manager.

    The adapter is saved at every publish and given to each request by a ``LoRARequest`` of its own id: requests that
    run keep the old one, and cached prefixes of another adapter are never taken.

    Args:
        policy: its base is loaded a second time, by vLLM, from the same folder.
        options: of vLLM's ``AsyncEngineArgs`` (``gpu_memory_utilization``, ``quantization`` ...).

    Raises:
        HomegroundError: vLLM is not installed.
    """

    def __init__(self, policy: Policy, **options: Any) -> None:
        try:
            import vllm  # type: ignore[import-not-found]
        except ImportError as cause:
            raise HomegroundError(
                "vLLM is not installed", hint="install the extra: pip install 'homeground[vllm]'"
            ) from cause
        self._vllm: Any = vllm
        self._policy = policy
        self.context = context_of(policy.model)
        self._folder = Path(tempfile.mkdtemp(prefix="homeground-vllm-"))
        self._numbers = itertools.count()
        self.weights_version = 0
        self._save()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="homeground-vllm", daemon=True)
        self._thread.start()
        rank = max(c.r for c in policy.peft.peft_config.values())  # pyright: ignore[reportAttributeAccessIssue]
        arguments: dict[str, Any] = {
            "model": str(policy.folder),
            "dtype": str(policy.dtype).removeprefix("torch."),
            "enable_lora": True,
            "max_lora_rank": next(allowed for allowed in RANKS if allowed >= rank),
            "max_loras": KEPT_ADAPTERS,
            # At the row's temperature, as a trainer computes them; the default is before it.
            "logprobs_mode": "processed_logprobs",
        }
        self._engine: Any = self._wait(self._start(arguments | options))

    def start(self, request: SamplingRequest) -> Future[Generation]:
        """Queue a request; a listener gets all tokens when they are sampled.

        Raises:
            ValueError: a truncation: vLLM reports log-probabilities after it, not the policy's.
        """
        if request.params.truncates or request.grammar is not None:
            raise ValueError(
                "top_p, top_k, min_p and schemas need the built-in sampler: vLLM's log-probabilities come after them"
            )
        done = asyncio.run_coroutine_threadsafe(self._sample(request, self.weights_version), self._loop)
        if (listen := request.listen) is not None:
            done.add_done_callback(lambda future: _tell(future, listen))
        return done

    def publish(self) -> int:
        """Save the adapter under a new version for the requests to come; returns the version."""
        self.weights_version += 1
        self._save()
        shutil.rmtree(self._adapter(self.weights_version - KEPT_ADAPTERS), ignore_errors=True)
        return self.weights_version

    def close(self) -> None:
        """Stop vLLM; requests that have not ended are cancelled."""
        self._wait(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _adapter(self, version: int) -> Path:
        return self._folder / f"adapter-{version}"

    def _save(self) -> None:
        self._policy.save_adapter(self._adapter(self.weights_version))

    def _wait(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _start(self, arguments: dict[str, Any]) -> Any:
        from vllm.v1.engine.async_llm import AsyncLLM  # type: ignore[import-not-found]

        return AsyncLLM.from_engine_args(self._vllm.AsyncEngineArgs(**arguments))

    async def _stop(self) -> None:
        running = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        self._engine.shutdown()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _sample(self, request: SamplingRequest, version: int) -> Generation:
        from vllm.lora.request import LoRARequest  # type: ignore[import-not-found]
        from vllm.sampling_params import RequestOutputKind  # type: ignore[import-not-found]

        wanted = self._vllm.SamplingParams(
            temperature=request.params.temperature,
            seed=request.params.seed,
            max_tokens=request.max_tokens,
            stop=request.stop,
            stop_token_ids=list(request.stop_ids),
            ignore_eos=True,
            logprobs=0,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        # Ids begin at 1 and are never used twice.
        adapter = LoRARequest(f"version-{version}", version + 1, str(self._adapter(version)))
        prompt = self._vllm.TokensPrompt(prompt_token_ids=request.prompt_ids)
        name = str(next(self._numbers))
        done = [out async for out in self._engine.generate(prompt, wanted, name, lora_request=adapter)]
        choice = done[-1].outputs[0]
        ids = list(choice.token_ids)
        logprobs = [step[token].logprob for token, step in zip(ids, choice.logprobs, strict=True)]
        reason = FinishReason.STOP if choice.finish_reason == "stop" else FinishReason.LENGTH
        return Generation(request.prompt_ids, ids, logprobs, reason, version)


def _tell(done: Future[Generation], listen: Callable[[int], None]) -> None:
    if not done.cancelled() and done.exception() is None:
        for token in done.result().ids:
            listen(token)
