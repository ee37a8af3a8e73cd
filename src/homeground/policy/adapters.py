"""The adapter of a policy: its settings, which layers get one, and files that plain PEFT loads.

Beside PEFT's own files lies ``homeground.json``: a sample of the base's weights, by which an adapter of another base
is refused, and how the adapter began (:mod:`homeground.policy.start`). PEFT does not look at it.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import peft
from peft import PeftModel
from transformers import PreTrainedModel

from homeground.base.errors import HomegroundError
from homeground.base.files import staged_folder
from homeground.base.model_files import refuse_not_finite
from homeground.policy import start
from homeground.policy.adapter_files import TENSORS, check_whole, does_not_fit, read_adapter, with_adapter
from homeground.policy.config import Init, LoraConfig
from homeground.policy.dora import begin_at_length
from homeground.policy.originals import Originals, same_base
from homeground.policy.shells import lora_layers
from homeground.policy.start import Start
from homeground.policy.targets import STRATEGIES, targeted, whole_modules

RECORD = "homeground.json"


class AdapterWarning(UserWarning):
    """An adapter was loaded of which not everything could be checked."""


def fresh_adapter(base: PreTrainedModel, lora: LoraConfig, originals: Originals) -> tuple[PeftModel, Start | None]:
    """A new adapter on a base, and where it starts unless that is zero.

    Args:
        base: as loaded; PiSSA moves its weights.
        lora: its settings.
        originals: the base's file.

    Raises:
        HomegroundError: a name that matches nothing; lists what exists.
    """
    model = wrapped(base, peft_config(base, lora))
    if lora.dora:
        for layer in lora_layers(model).values():
            begin_at_length(layer)
    return model, None if lora.init is Init.DEFAULT else start.begin(model, lora.init, originals)


def peft_config(base: PreTrainedModel, lora: LoraConfig) -> peft.LoraConfig:
    """PEFT's settings of an adapter.

    Raises:
        HomegroundError: a name that matches nothing; lists what exists.
    """
    names = targeted(base, lora.targets)
    return peft.LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=STRATEGIES[0] if lora.targets == STRATEGIES[0] else names,
        modules_to_save=whole_modules(base, lora.modules_to_save, names) or None,
        use_rslora=lora.rslora,
        use_dora=lora.dora,
        task_type="CAUSAL_LM",
    )


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
        model = with_adapter(base, folder, config, trainable=True)
    else:
        try:
            tensors, begun = start.split(folder, init, config)
            model = wrapped(base, config)
            start.load(model, tensors)
        except (RuntimeError, ValueError, KeyError) as cause:
            raise does_not_fit(str(cause).splitlines()[0], folder) from cause
        check_whole(model, folder)
    refuse_other_base(folder, originals)
    if begun is not None:
        start.move_base(model, begun, originals)
    return model, begun


def save(model: PeftModel, folder: Path, begun: Start | None, name: str, originals: Originals) -> None:
    """Write an adapter in PEFT's format, for the original base, whole or not at all.

    Args:
        model: holds it.
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
        model.save_pretrained(str(staging))
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


def wrapped(base: PreTrainedModel, config: peft.LoraConfig, *, on_meta: bool = False) -> PeftModel:
    """A base with a fresh adapter of PEFT's.

    Args:
        base: changed in place.
        config: of the adapter.
        on_meta: give the adapter no storage.
    """
    # PEFT 0.21 asks transformers 5.23 a question under its old name.
    with warnings.catch_warnings(action="ignore", category=FutureWarning):
        model = peft.get_peft_model(base, config, low_cpu_mem_usage=on_meta)
    assert isinstance(model, PeftModel)
    return model


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
    base, own = record.get("base"), originals.sample()
    if base is not None and not isinstance(base, dict):
        raise _broken_record(folder / RECORD, "does not say which base it was trained on")
    if base is None or base.get("sample", own) is None or own is None:
        why = f"no {RECORD} beside this adapter" if base is None else "the weights before quantization are not known"
        warnings.warn(
            f"{folder}: {why}, so that it was trained on this base model is taken on trust; its shapes fit",
            AdapterWarning,
            stacklevel=3,
        )
        return
    try:
        name, same = base["name"], same_base(base["sample"], own)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise _broken_record(folder / RECORD, "does not say which base it was trained on") from error
    if not same:
        raise does_not_fit(f"it was trained on '{name}', whose weights are others", folder)
