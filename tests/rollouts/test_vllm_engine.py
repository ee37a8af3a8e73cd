"""vLLM itself is not here: what is tested is that it is optional, and our side of its interface."""

import asyncio
import sys
import types
from dataclasses import dataclass, field

import pytest
import torch
from safetensors.torch import load_file

from homeground.base.errors import HomegroundError
from homeground.rollouts import DirectSource, FinishReason, SamplingParams, VllmEngine


def test_without_vllm_the_error_names_the_extra(policy, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(HomegroundError, match="vLLM is not installed") as caught:
        VllmEngine(policy)
    assert "homeground[vllm]" in caught.value.hint


@dataclass
class Record:
    """Any of vLLM's argument records."""

    fields: dict = field(default_factory=dict)

    @classmethod
    def of(cls, *arguments, **fields):
        return cls(fields | dict(enumerate(arguments)))


class FakeEngine:
    """Answers each request with the token 7 as often as it may, slowly when asked for more than 50."""

    def __init__(self, arguments):
        self.arguments = arguments.fields
        self.calls = []
        self.aborted = 0
        self.down = False

    async def generate(self, prompt, params, request_id, *, lora_request):
        adapter = load_file(f"{lora_request.fields[2]}/adapter_model.safetensors")
        self.calls.append((prompt.fields["prompt_token_ids"], params.fields, request_id, lora_request.fields, adapter))
        n = params.fields["max_tokens"]
        try:
            await asyncio.sleep(60 if n > 50 else 0.01)
        except asyncio.CancelledError:
            self.aborted += 1
            raise
        choice = types.SimpleNamespace(
            token_ids=[7] * n, logprobs=[{7: types.SimpleNamespace(logprob=-0.5)}] * n, finish_reason="length"
        )
        yield types.SimpleNamespace(outputs=[choice])

    def shutdown(self):
        self.down = True


@pytest.fixture
def fake(monkeypatch):
    names = {
        "vllm": {"AsyncEngineArgs": Record.of, "SamplingParams": Record.of, "TokensPrompt": Record.of},
        "vllm.lora.request": {"LoRARequest": Record.of},
        "vllm.sampling_params": {"RequestOutputKind": types.SimpleNamespace(FINAL_ONLY="final")},
        "vllm.v1.engine.async_llm": {"AsyncLLM": types.SimpleNamespace(from_engine_args=FakeEngine)},
    }
    for name, contents in names.items():
        module = types.ModuleType(name)
        module.__dict__.update(contents)
        monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.usefixtures("fake")
def test_requests_carry_what_they_asked_for_and_the_adapter_of_their_version(policy):
    with VllmEngine(policy, max_model_len=128) as engine:
        arguments = engine._engine.arguments
        assert arguments["model"] == str(policy.folder)
        assert (arguments["max_lora_rank"], arguments["max_model_len"]) == (8, 128)
        first = engine.submit([1, 2], 3, SamplingParams(0.5, seed=4), [9], ["x"]).result(timeout=20)
        assert (first.ids, first.logprobs, first.weights_version) == ([7] * 3, [-0.5] * 3, 0)
        assert first.finish_reason is FinishReason.LENGTH
        for parameter in policy.trainable().values():
            parameter.data += 1
        assert engine.publish() == engine.weights_version == 1
        second = engine.submit([1, 2], 3).result(timeout=20)
        assert second.weights_version == 1
        (prompt, params, _, lora, before), (_, _, _, later, after) = engine._engine.calls
        assert prompt == [1, 2]
        wanted = {"temperature": 0.5, "seed": 4, "max_tokens": 3, "stop": ["x"], "stop_token_ids": [9]}
        assert wanted.items() <= params.items()
        assert lora[1] != later[1], "the same id would be answered by the adapter that is loaded already"
        for name, tensor in before.items():
            torch.testing.assert_close(after[name], tensor + 1)
        folder = engine._folder
        fake_engine = engine._engine
        for _ in range(3):
            engine.publish()
        assert len(list(folder.iterdir())) == 2
    assert fake_engine.down
    assert not folder.exists()


@pytest.mark.usefixtures("fake")
def test_a_cancelled_request_is_aborted_and_closing_cancels_the_rest(policy):
    with VllmEngine(policy) as engine:
        doomed, waiting = engine.submit([1], 60), engine.submit([1], 60)
        engine.submit([1], 2).result(timeout=20)
        doomed.cancel()
        engine.submit([1], 2).result(timeout=20)
        assert engine._engine.aborted == 1
    assert waiting.cancelled()


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("params", [SamplingParams(top_p=0.9), SamplingParams(top_k=3), SamplingParams(min_p=0.1)])
def test_a_truncation_is_refused_because_the_logprobs_would_not_be_the_policy_s(policy, params):
    with VllmEngine(policy) as engine, pytest.raises(ValueError, match="built-in sampler"):
        engine.submit([1], 2, params)


@pytest.mark.usefixtures("fake")
def test_sources_take_it_like_the_sampler(policy):
    with VllmEngine(policy) as engine:
        source = DirectSource(policy, engine, lambda prompt, completion: 1.0, max_tokens=4)
        assert [list(t.turns[0].ids) for t in source.collect(["a"], 2, step=0)] == [[7] * 4] * 2
