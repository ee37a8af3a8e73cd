"""Which layers of a model get an adapter, and which modules are trained whole."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from homeground.base.errors import HomegroundError
from homeground.policy.quantize import is_quantized

STRATEGIES = ("all-linear", "attention", "mlp", "attention+mlp")
_ATTENTION = ("attention", "attn", "mixer")
_MLP = ("mlp", "feed_forward", "feedforward", "ffn", "expert", "moe")
_MANY = 24


def targeted(model: PreTrainedModel, targets: str | Sequence[str]) -> list[str]:
    """Names that PEFT is given: last parts where these say it all (``q_proj``), whole names where not.

    Args:
        model: without an adapter.
        targets: one of :data:`STRATEGIES`, none of which means the output head, or names of linear layers, whole or
            from the right (``self_attn.q_proj``).

    Raises:
        HomegroundError: nothing matches one of them; lists the linear layers that exist.
    """
    linear = linear_layers(model)
    head = model.get_output_embeddings()
    body = [name for name in linear if model.get_submodule(name) is not head]
    wanted = [targets] if isinstance(targets, str) else list(targets)
    chosen: set[str] = set()
    for target in wanted:
        found = {name for name in (body if target in STRATEGIES else linear) if _matches(name, linear[name], target)}
        if not found:
            raise HomegroundError(
                f"no linear layer of this model matches the target '{target}'",
                where="model.lora.targets",
                hint=f"a strategy ({', '.join(STRATEGIES)}) or names of its layers: {_listed(linear)}",
            )
        chosen |= found
    if not chosen:
        raise HomegroundError(
            "the list of targets is empty, so no layer would get an adapter",
            where="model.lora.targets",
            hint=f"a strategy ({', '.join(STRATEGIES)}) or names of its layers: {_listed(linear)}",
        )
    return _shortest(chosen, [name for name, _ in model.named_modules()])


def linear_layers(model: PreTrainedModel) -> dict[str, str]:
    """The linear layers of a model by name, with the names and classes of what they are part of."""
    found: dict[str, str] = {}
    modules = dict(model.named_modules())
    for name, module in modules.items():
        if isinstance(module, nn.Linear | Conv1D):  # GPT-2's linear layers, their weights transposed
            parts = name.split(".")
            above = [".".join(parts[:n]) for n in range(1, len(parts))]
            found[name] = " ".join(f"{parts[n]} {type(modules[path]).__name__}" for n, path in enumerate(above)).lower()
    return found


def whole_modules(model: PreTrainedModel, names: Sequence[str], targets: Sequence[str]) -> list[str]:
    """Whole names of modules that are trained themselves, checked; PEFT takes a part of a name for any that end so.

    Raises:
        HomegroundError: one that does not exist, is packed, has an adapter, or is one half of a tied pair.
    """
    where = "model.lora.modules_to_save"
    own = {name: m for name, m in model.named_modules() if any(True for _ in m.parameters(recurse=False))}
    head, table = model.get_output_embeddings(), model.get_input_embeddings()
    tied = head is not None and head.weight is table.weight
    chosen: list[str] = []
    for wanted in names:
        found = {name: m for name, m in own.items() if _ends(name, wanted)}
        if not found:
            raise HomegroundError(
                f"no module of this model with parameters of its own is called '{wanted}'",
                where=where,
                hint=f"it has: {_listed(own)}",
            )
        if any(_ends(name, target) for name in found for target in targets):
            raise HomegroundError(
                f"'{wanted}' gets an adapter and cannot be trained whole too",
                where=where,
                hint="take it out of model.lora.modules_to_save, or out of model.lora.targets",
            )
        if any(is_quantized(module) for module in found.values()):
            raise HomegroundError(
                f"'{wanted}' is quantized, and packed weights cannot be trained",
                where=where,
                hint="take it out, or set model.quantization to none",
            )
        if tied and any(module is head or module is table for module in found.values()):
            raise HomegroundError(
                f"'{wanted}' cannot be trained whole: in this model the output head and the table of embeddings are "
                "one matrix, and a trained copy of one would part them",
                where=where,
                hint="take it out; a model that does not tie them can train either",
            )
        chosen += found
    return chosen


def _matches(name: str, above: str, target: str) -> bool:
    if target == "all-linear":
        return True
    attention = any(word in above for word in _ATTENTION)
    mlp = not attention and any(word in above for word in _MLP)
    strategies = {"attention": attention, "mlp": mlp, "attention+mlp": attention or mlp}
    return strategies[target] if target in strategies else _ends(name, target)


def _ends(name: str, part: str) -> bool:
    return name == part or name.endswith(f".{part}")


def _shortest(chosen: set[str], existing: Sequence[str]) -> list[str]:
    kinds = {name.rpartition(".")[2] for name in chosen}
    whole = {kind for kind in kinds if all(name in chosen for name in existing if _ends(name, kind))}
    return sorted(whole) + sorted(name for name in chosen if name.rpartition(".")[2] not in whole)


def _listed(names: Iterable[str]) -> str:
    kinds = list(dict.fromkeys(name.rpartition(".")[2] for name in names))
    return ", ".join(kinds[:_MANY]) + (f" and {len(kinds) - _MANY} more" if len(kinds) > _MANY else "")
