"""The memory plan of a stage: what it will need, and whether that fits."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from homeground.base.errors import HomegroundError
from homeground.base.sizes import Target
from homeground.policy.config import ModelConfig
from homeground.recipe import Recipe

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

    from homeground.policy import TokenPath
    from homeground.policy.budget import Step
    from homeground.training import Example

type Stage = Literal["sft", "rl"]

CONTEXT_MB = 500.0
"""What CUDA and its libraries take on a card before the first tensor."""
CARD_GAPS = 0.06
"""What torch's allocator on a card reserves beside what comes and goes."""
LIBRARIES_MB = 100.0
"""What torch, oneDNN and the tokenizer take on a CPU once they work (measured, docs/plan.md)."""
UNEVEN_HEAP = 2.5
"""How much more glibc's heap holds on to where forests differ in size: holes rarely fit (measured, docs/plan.md)."""
IMPORTED_MB = 900.0
"""The imported process itself: torch, transformers, PEFT, bitsandbytes, Lightning (measured, docs/plan.md)."""
_STEPS: dict[tuple[str, str, tuple[tuple[int, int], ...], bool], Step] = {}
LOOKUP_TOKENS, LOOKUP_TRAINED = 320, 30
LOOKUP_PROMPT, LOOKUP_HITS = 120, 180
"""Where no data is named: tokens of a look-up, its trained ones, its first prompt and the hits that it is shown."""


@dataclass(frozen=True)
class Work:
    """What a stage computes.

    Attributes:
        lengths: tokens and trained tokens of each example or rollout.
        words: where they come from.
    """

    lengths: tuple[tuple[int, int], ...]
    words: str

    @property
    def uneven(self) -> bool:
        """Whether forests will differ much in size."""
        tokens = [length for length, _ in self.lengths]
        return max(tokens) > 1.25 * min(tokens)


@dataclass(frozen=True)
class Plan:
    """See the module.

    Attributes:
        stage: planned.
        items: MB by name; they add up to the total.
        device: what it has to fit.
        tokens, steps: of the whole stage.
        operations: of the whole stage's updates.
        work: what it is made from.
        forest: distinct tokens of the largest forward.
    """

    stage: Stage
    items: dict[str, float]
    device: Target
    tokens: int
    steps: int
    operations: float
    work: Work
    forest: int
    advice: list[str] = field(default_factory=list)

    @property
    def total_mb(self) -> float:
        """Of all items."""
        return sum(self.items.values())

    @property
    def fits(self) -> bool:
        """Whether the device holds it."""
        return self.total_mb <= self.device.memory_mb

    def to_json(self) -> dict[str, Any]:
        """The document of `homeground plan --json`, but for the time."""
        return {
            "stage": self.stage,
            "items": {name: round(mb, 1) for name, mb in self.items.items()},
            "total_mb": round(self.total_mb, 1),
            "device": self.device.name,
            "device_mb": self.device.memory_mb,
            "fits": self.fits,
            "advice": self.advice,
            "tokens": self.tokens,
            "steps": self.steps,
            "longest_forest": self.forest,
            "assumed": self.work.words,
        }

    def refuse(self) -> None:
        """Raise unless it fits.

        Raises:
            HomegroundError: names the largest items and the first change that would help.
        """
        if self.fits:
            return
        largest = sorted(self.items.items(), key=lambda item: -item[1])[:3]
        named = ", ".join(f"{name} {mb:,.0f} MB" for name, mb in largest)
        first = self.advice[0] if self.advice else "take a smaller model"
        raise HomegroundError(
            f"{self.stage} needs about {self.total_mb:,.0f} MB and {self.device.name} has "
            f"{self.device.memory_mb:,.0f} MB; the largest parts are {named}",
            where=f"the plan of {self.stage}",
            hint=f"{first}; `homeground plan` shows everything, --force starts all the same",
        )


def planned(
    recipe: Recipe, stage: Stage, device: Target, work: Work | None, config: PretrainedConfig | None = None
) -> Plan:
    """The plan without advice; with ``config`` of a model that need not be on this machine."""
    work = work or assumed_work(recipe, stage)
    config = config or config_of(recipe)
    settings = settings_on(device, recipe.model)
    paths = largest_forest(recipe, stage, work)
    step = _step(config, settings, paths, cuda=device.cuda)
    forest = sum(length for length, _ in paths)
    heap = UNEVEN_HEAP if stage == "sft" and work.uneven else 1.0
    items = _items(recipe, stage, device, replace(step, heap=heap * step.heap), config)
    tokens, steps, passes = _extent(recipe, stage, work)
    share = (step.forward * (passes - 1) + step.forward + step.backward) / forest
    return Plan(stage, items, device, tokens, steps, share * tokens, work, forest)


def assumed_work(recipe: Recipe, stage: Stage) -> Work:
    """Look-ups of the usual length."""
    if stage == "sft":
        count = recipe.sft.examples
        words = f"{count} look-ups of {LOOKUP_TOKENS} tokens, {LOOKUP_TRAINED} of them trained"
        return Work(((LOOKUP_TOKENS, LOOKUP_TRAINED),) * count, words)
    rl = recipe.rl
    sampled = rl.max_query_tokens + rl.max_answer_tokens
    words = f"look-ups of {LOOKUP_PROMPT} + {LOOKUP_HITS} tokens of prompt and hits, {sampled} sampled"
    count = rl.steps * rl.tasks_per_step * rl.group_size
    return Work(((LOOKUP_PROMPT + LOOKUP_HITS + sampled, sampled),) * count, words)


def rendered_work(recipe: Recipe, examples: Sequence[Example]) -> Work:
    """Of rendered examples, as they will be trained.

    Raises:
        HomegroundError: none fits the model's context.
    """
    from homeground.policy.rope import longest_path
    from homeground.training.rendering import fit_paths

    paths = [example.path for example in examples if example.path is not None]
    found = fit_paths(paths, recipe.sft, limit=longest_path(config_of(recipe)))
    return Work(tuple((len(path.ids), len(path.trained)) for path in found.paths), found.describe())


def tokenizer_of(recipe: Recipe) -> PreTrainedTokenizerBase:
    """Load the tokenizer of the recipe's model, without its weights."""
    from homeground.base.model_files import read_tokenizer
    from homeground.base.weights import resolve_model

    return read_tokenizer(resolve_model(recipe.model.name))


def tokenizer_here(recipe: Recipe) -> PreTrainedTokenizerBase | None:
    """Load the tokenizer without a download; None if a hub model is not on this machine."""
    from huggingface_hub import try_to_load_from_cache
    from transformers import AutoTokenizer

    name = recipe.model.name
    if name.count("/") != 1 or Path(name).expanduser().exists():
        return tokenizer_of(recipe)
    if not isinstance(try_to_load_from_cache(name, "tokenizer_config.json"), str):
        return None
    return AutoTokenizer.from_pretrained(name, local_files_only=True, trust_remote_code=False)


def config_of(recipe: Recipe) -> PretrainedConfig:
    """Read the model's configuration.

    Raises:
        HomegroundError: there is no such model, or it cannot be read.
    """
    from homeground.base.model_files import read_config
    from homeground.base.weights import resolve_model

    return read_config(resolve_model(recipe.model.name))


def settings_on(device: Target, model: ModelConfig) -> ModelConfig:
    """A model's settings with the dtype that it will compute in on a device."""
    from homeground.base.hardware import matmul_rates

    if model.compute_dtype != "auto":
        return model
    fast = device.cuda or matmul_rates("cpu").bf16_fast
    return model.model_copy(update={"compute_dtype": "bf16" if fast else "fp32"})


def _number_bytes(recipe: Recipe, device: Target) -> int:
    """Bytes of a number that is computed with."""
    return 2 if settings_on(device, recipe.model).compute_dtype == "bf16" else 4


def largest_forest(recipe: Recipe, stage: Stage, work: Work) -> tuple[tuple[int, int], ...]:
    """Lengths and trained tokens of the paths of the worst forward that packing may build."""
    if stage == "rl":
        rl = recipe.rl
        longest = max(work.lengths)
        prompt = min(LOOKUP_PROMPT, longest[0] - 1)
        group = prompt + rl.group_size * (longest[0] - prompt)
        # As rehearsed: one path of the whole budget, or a group that is larger by itself.
        size = max(group, min(rl.forest_tokens, rl.tasks_per_step * group))
        return ((size, min(size - 1, rl.group_size * longest[1] * max(1, size // group))),)
    chosen: list[tuple[int, int]] = []
    room = recipe.sft.forest_tokens
    for length, trained in sorted(work.lengths, reverse=True)[: recipe.sft.batch_size]:
        if not chosen or length <= room:
            chosen.append((length, trained))
            room -= length
    return tuple(chosen)


def paths_of(lengths: Sequence[tuple[int, int]], vocabulary: int) -> list[TokenPath]:
    """Paths of given lengths and trained tokens that share no token: first tokens differ, the rest is drawn."""
    from homeground.policy import TokenPath

    rng = random.Random(0)
    made: list[TokenPath] = []
    for number, (length, trained) in enumerate(lengths):
        ids = [number % vocabulary, *(rng.randrange(vocabulary) for _ in range(length - 1))]
        made.append(TokenPath(ids, range(max(1, length - trained), length)))
    return made


def _step(config: PretrainedConfig, settings: ModelConfig, lengths: tuple[tuple[int, int], ...], *, cuda: bool) -> Step:
    """Of a forward and backward; remembered, since remedies change one setting at a time."""
    key = (config.to_json_string(use_diff=False), settings.model_dump_json(), lengths, cuda)
    if key not in _STEPS:
        from homeground.policy.budget import step_of

        _STEPS[key] = step_of(config, settings, paths_of(lengths, config.vocab_size), cuda=cuda)
    return _STEPS[key]


def _items(recipe: Recipe, stage: Stage, device: Target, step: Step, config: PretrainedConfig) -> dict[str, float]:
    import torch

    from homeground.training.optimizers import chosen

    adapter = step.adapter / 1e6
    section = recipe.sft if stage == "sft" else recipe.rl
    states = (
        step.parameters * chosen(section.optimizer, torch.device("cuda" if device.cuda else "cpu")).state_bytes / 1e6
    )
    items = {
        "weights": step.weights / 1e6,
        "adapter": adapter,
        "gradients": adapter,
        "optimizer states": states,
        "activations": step.kept / 1e6,
        "logits": step.logits / 1e6,
        "workspace": step.workspace / 1e6,
    }
    if stage == "rl":
        items |= _rl_items(recipe, device, step, config)
    if device.cuda:
        items["allocator"] = CARD_GAPS * step.activations / 1e6
        items["CUDA context"] = CONTEXT_MB
        return items
    items["heap of the C library"] = step.heap / 1e6
    items["libraries at work"] = LIBRARIES_MB
    items["imported process"] = IMPORTED_MB
    # Loading maps the file and copies what it reads; where that is the worst moment, it is what has to fit.
    written: Any = config.dtype or torch.bfloat16
    file = step.plain * written.itemsize / _number_bytes(recipe, device)
    reading = {"weights as they are read": (file + step.weights) / 1e6}
    reading |= {name: items[name] for name in ("libraries at work", "imported process")}
    return max(items, reading, key=lambda found: sum(found.values()))


def _rl_items(recipe: Recipe, device: Target, step: Step, config: PretrainedConfig) -> dict[str, float]:
    from homeground.pipeline.workbench import CACHE_MB
    from homeground.rollouts.sampler import ROWS_MB
    from homeground.rollouts.tails import room_for

    text: Any = config.get_text_config()
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    half = _number_bytes(recipe, device)
    token = 2 * text.num_hidden_layers * heads * size * half
    rows = min(recipe.eval.batch, recipe.rl.tasks_per_step * recipe.rl.group_size)
    # What a look-up's last turn sees alone: its own query, the hits and the answer.
    tail = room_for(LOOKUP_HITS + recipe.rl.max_query_tokens + recipe.rl.max_answer_tokens)
    tails = min(rows * tail * token, ROWS_MB * 2**20)
    items = {
        "sampler's adapter": step.adapter / 4 * half / 1e6,
        "keys and values": (CACHE_MB * 2**20 + tails) / 1e6,
    }
    if not device.cuda and step.unpacked:
        items["sampler's unpacked weights"] = step.unpacked / 1e6
    if recipe.rl.kl_coef:
        items["reference adapter"] = step.adapter / 1e6
    return items


def _extent(recipe: Recipe, stage: Stage, work: Work) -> tuple[int, int, int]:
    """Distinct tokens and optimizer steps of the whole stage, and how many forward passes each token gets."""
    if stage == "sft":
        sft = recipe.sft
        tokens = sft.epochs * sum(length for length, _ in work.lengths)
        return tokens, sft.epochs * -(-len(work.lengths) // sft.batch_size), 1
    rl = recipe.rl
    group = LOOKUP_PROMPT + rl.group_size * (work.lengths[0][0] - LOOKUP_PROMPT)
    tokens = rl.steps * rl.tasks_per_step * group
    # Beside the update: the prompt and the hits are read once by the sampler, and once by the reference.
    return tokens * rl.updates_per_step, rl.steps * rl.updates_per_step, 2 + bool(rl.kl_coef)
