"""The adapter of a policy: its settings, which layers get one, and files that plain PEFT loads.

Beside PEFT's own files lies ``homeground.json``: a sample of the base's weights, by which an adapter of another base
is refused, and how the adapter began (:mod:`homeground.policy.start`). PEFT does not look at it.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel

from homeground.base.errors import HomegroundError, UsageError
from homeground.base.files import staged_folder
from homeground.base.model_files import refuse_not_finite
from homeground.policy import start
from homeground.policy.adapter_files import TENSORS, check_whole, does_not_fit, read_adapter, with_adapter
from homeground.policy.dora import begin_at_length
from homeground.policy.originals import Originals, same_base
from homeground.policy.quantize import Quantization
from homeground.policy.shells import lora_layers
from homeground.policy.start import Init, Start
from homeground.policy.targets import STRATEGIES, targeted, whole_modules

RECORD = "homeground.json"


class AdapterWarning(UserWarning):
    """An adapter was loaded of which not everything could be checked."""


@dataclass(frozen=True)
class LoraSettings:
    """A low-rank adapter (Hu et al. 2021, arXiv 2106.09685): update ``s B A`` on each targeted layer.

    Attributes:
        r: rank.
        alpha: the scale s is ``alpha / r``, with ``rslora`` ``alpha / sqrt(r)`` (arXiv 2312.03732).
        dropout: before the adapter, in training only.
        targets: one of :data:`~homeground.policy.targets.STRATEGIES`, or names of layers.
        rslora: see ``alpha``.
        dora: learn the length of each row of the adapted weight apart from its direction (arXiv 2402.09353).
        init: how it begins, see :mod:`homeground.policy.start`.
        trained_whole: names of modules that are trained themselves, such as ``norm`` or ``lm_head``.
    """

    r: int = 16
    alpha: float = 32
    dropout: float = 0.0
    targets: str | Sequence[str] = "all-linear"
    rslora: bool = False
    dora: bool = False
    init: Init | str = Init.DEFAULT
    trained_whole: Sequence[str] = ()


def check(lora: LoraSettings, quantization: Quantization) -> None:
    """Refuse settings that cannot be trained, before a model is read.

    Raises:
        UsageError: with what to change.
    """
    if lora.r < 1:
        raise UsageError(
            f"an adapter of rank {lora.r} has nothing to train",
            where="model.lora.r",
            hint="give a rank of 1 or more; 8 to 64 is usual",
        )
    if lora.init not in set(Init):
        raise UsageError(f"there is no start '{lora.init}'", where="model.lora.init", hint=f"one of {', '.join(Init)}")
    if lora.init == Init.LOFTQ and quantization is Quantization.NONE:
        raise UsageError(
            "LoftQ makes up for what quantization loses, and this base is not quantized",
            where="model.lora.init",
            hint="set model.quantization to nf4, or model.lora.init to default or pissa",
        )
    if lora.dora and lora.init != Init.DEFAULT:
        raise UsageError(
            f"DoRA and '{lora.init}' together cannot be saved as an adapter of the original base",
            where="model.lora",
            hint="set model.lora.dora to false, or model.lora.init to default",
        )
    if lora.dora and lora.dropout and quantization in (Quantization.NF4, Quantization.FP4):
        raise UsageError(
            "DoRA with dropout over 4-bit layers is left to a library that unpacks some of them wrongly",
            where="model.lora",
            hint="set model.lora.dropout to 0, or model.lora.dora to false",
        )


def fresh_adapter(base: PreTrainedModel, lora: LoraSettings, originals: Originals) -> tuple[PeftModel, Start | None]:
    """A new adapter on a base, and where it starts unless that is zero.

    Args:
        base: as loaded; PiSSA moves its weights.
        lora: its settings.
        originals: the base's file.

    Raises:
        HomegroundError: a name that matches nothing; lists what exists.
    """
    names = targeted(base, lora.targets)
    config = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]
        lora_dropout=lora.dropout,
        target_modules=STRATEGIES[0] if lora.targets == STRATEGIES[0] else names,
        modules_to_save=whole_modules(base, lora.trained_whole, names) or None,
        use_rslora=lora.rslora,
        use_dora=lora.dora,
        task_type="CAUSAL_LM",
    )
    peft = _wrapped(base, config)
    if lora.dora:
        for layer in lora_layers(peft).values():
            begin_at_length(layer)
    init = Init(lora.init)
    return peft, None if init is Init.DEFAULT else start.begin(peft, init, originals)


def saved_adapter(base: PreTrainedModel, folder: Path, originals: Originals) -> tuple[PeftModel, Start | None]:
    """The adapter of a folder, ours or anybody's, on a base, ready to be trained on.

    Raises:
        HomegroundError: there is none, or it is another base's.

    Warns:
        AdapterWarning: whether it is another base's cannot be told.
    """
    config = read_adapter(folder, base)
    init = Init(_record(folder).get("start", Init.DEFAULT))
    begun: Start | None = None
    if init is Init.DEFAULT:
        peft = with_adapter(base, folder, config, trainable=True)
    else:
        try:
            tensors, begun = start.split(folder, init, config)
            peft = _wrapped(base, config)
            start.load(peft, tensors)
        except (RuntimeError, ValueError, KeyError) as cause:
            raise does_not_fit(str(cause).splitlines()[0], folder) from cause
        check_whole(peft, folder)
    refuse_other_base(folder, originals)
    if begun is not None:
        start.move_base(peft, begun, originals)
    return peft, begun


def save(peft: PeftModel, folder: Path, begun: Start | None, name: str, originals: Originals) -> None:
    """Write an adapter in PEFT's format, for the original base, whole or not at all.

    Args:
        peft: holds it.
        folder: replaced if it is there.
        begun: where the adapter started, unless at zero.
        name: what the user calls the base.
        originals: the base's file.
    """
    record = {
        "base": {"name": name, "sample": originals.sample()},
        "start": begun.init.value if begun else Init.DEFAULT.value,
    }
    with staged_folder(folder) as staging:
        peft.save_pretrained(str(staging))
        _refuse_diverged(staging / TENSORS, folder)
        if begun is not None:
            start.convert(staging, begun)
        (staging / RECORD).write_text(json.dumps(record) + "\n", encoding="utf-8")


def _refuse_diverged(tensors: Path, folder: Path) -> None:
    try:
        refuse_not_finite([tensors])
    except HomegroundError as error:
        raise HomegroundError(
            f"the training has diverged, and its adapter is not saved: {error.message}",
            where=str(folder),
            hint="lower the learning rate and train again; what was saved there before is as it was",
        ) from error


def moves_base(folder: Path) -> bool:
    """Whether the adapter of a folder was trained over weights that its start had moved."""
    return _record(folder).get("start") == Init.PISSA


def refuse_other_base(folder: Path, originals: Originals) -> None:
    """Compare the base that an adapter says it was trained on with another.

    Raises:
        HomegroundError: they differ.

    Warns:
        AdapterWarning: the adapter does not say.
    """
    _check_base(_record(folder), folder, originals)


def _wrapped(base: PreTrainedModel, config: LoraConfig) -> PeftModel:
    with _quiet():
        peft = get_peft_model(base, config)
    assert isinstance(peft, PeftModel)
    return peft


def _quiet() -> warnings.catch_warnings[Any]:
    # PEFT 0.21 asks transformers 5.23 a question under its old name.
    return warnings.catch_warnings(action="ignore", category=FutureWarning)


def _record(folder: Path) -> dict[str, Any]:
    file = folder / RECORD
    if not file.is_file():
        return {}
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _broken_record(file, f"is no JSON: {error}") from error
    if not isinstance(record, dict):
        raise _broken_record(file, "is no JSON object")
    if record.get("start", Init.DEFAULT) not in list(Init):
        raise _broken_record(file, f"names no start that there is: {record['start']!r}")
    return record


def _broken_record(file: Path, why: str) -> HomegroundError:
    return HomegroundError(
        f"the adapter's record {why}", where=str(file), hint="delete it to load the adapter unchecked"
    )


def _check_base(record: dict[str, Any], folder: Path, originals: Originals) -> None:
    base = record.get("base")
    if base is None:
        warnings.warn(
            f"{folder}: no {RECORD} beside this adapter, so that it was trained on this base model is taken on trust; "
            "its shapes fit",
            AdapterWarning,
            stacklevel=3,
        )
        return
    try:
        name, same = base["name"], same_base(base["sample"], originals.sample())
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise _broken_record(folder / RECORD, "does not say which base it was trained on") from error
    if not same:
        raise does_not_fit(f"it was trained on '{name}', whose weights are others", folder)
