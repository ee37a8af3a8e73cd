"""Check a LoRA adapter's files, from any source, and load them onto a model.

PEFT reads several of an adapter's settings as regular expressions and matches them against every module's name, which
can take exponential time. Here RE2 matches them in linear time, and PEFT gets the matching names.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import re2
from peft import LoraConfig, PeftModel, get_peft_model_state_dict
from safetensors import safe_open
from torch import nn
from transformers import PreTrainedModel

from homeground.base.errors import HomegroundError, clipped
from homeground.base.model_files import check_header, loading, read_object, refuse_not_finite

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
_CONVERT = (
    'python -c "import torch; from safetensors.torch import save_file; '
    "save_file({k: v.contiguous() for k, v in torch.load('adapter_model.bin', map_location='cpu', "
    f"weights_only=True).items()}}, '{TENSORS}')\""
)
_OTHER_FORMS = ("layer_replication", "megatron_config", "alora_invocation_tokens", "use_qalora", "arrow_config")
_LARGEST_SCALE = 2**32
_FLAGS = ("use_rslora", "use_dora", "fan_in_fan_out", "lora_bias")
# Other initializations (PiSSA, OLoRA, CorDA) subtract their start from the base's weights whenever PEFT loads them.
_KEEP_THE_BASE = (True, False, None, "gaussian", "eva", "orthogonal")
# A name or the end of one, which any engine matches in linear time.
_PLAIN = re.compile(r"\^?[\w.\-]*\$?")


def read_adapter(folder: Path, model: nn.Module) -> LoraConfig:
    """Read an adapter's settings after checking its files; every pattern is resolved to names of a model's modules.

    Raises:
        HomegroundError: a file is missing or broken, it is not a LoRA adapter, its ranks are not those of its tensors,
            a value is not finite or of a wrong type, or a pattern matches nothing or is not supported by RE2.
    """
    file = folder / CONFIG
    if not file.is_file():
        raise HomegroundError(
            f"no adapter there: {CONFIG} is missing",
            where=str(folder),
            hint="run `homeground sft` first, or name the adapter folder of a run",
        )
    settings = read_object(file)
    if settings.get("peft_type") != "LORA":
        raise HomegroundError(
            f"an adapter of type {settings.get('peft_type')!r}; only LoRA, with rsLoRA and DoRA, is read",
            where=str(file),
            hint="name a LoRA adapter, or merge this one into its base with PEFT's merge_and_unload",
        )
    if key := next((key for key in _OTHER_FORMS if settings.get(key)), None):
        raise _refused(file, f"it sets {key}, which is not supported", "merge it into its base with PEFT")
    _check_values(file, settings)
    _check_tensors(folder, settings)
    _check_plain(file, settings)
    names = [name for name, _ in model.named_modules() if name]
    chosen: dict[str, list[str]] = {}
    for key in ("target_modules", "exclude_modules"):
        pattern = settings.get(key)
        if isinstance(pattern, str) and pattern != "all-linear":
            chosen[key] = _matching(file, key, pattern, names)
    if chosen.get("target_modules") == []:
        raise does_not_fit(f"its target_modules {settings['target_modules']!r} match no module", folder)
    with loading("the adapter's settings", file, "make the adapter again, or name another one"):
        config = LoraConfig.from_pretrained(str(folder))
        assert isinstance(config, LoraConfig)
    for key, found in chosen.items():
        setattr(config, key, set(found) or None)
    return config


def with_adapter(base: PreTrainedModel, folder: Path, config: LoraConfig, *, trainable: bool) -> PeftModel:
    """Load an adapter of :func:`read_adapter` onto a model.

    Args:
        trainable: copy the tensors, so that they can be trained; otherwise they are used in place.

    Raises:
        HomegroundError: the adapter belongs to another model.
    """
    try:
        with warnings.catch_warnings():
            # PEFT calls transformers by a deprecated name, and warns of tied embeddings.
            warnings.simplefilter("ignore")
            peft = PeftModel.from_pretrained(
                base,
                str(folder),
                config=config,
                is_trainable=trainable,
                low_cpu_mem_usage=not trainable,
                use_safetensors=True,
            )
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError, OSError) as cause:
        if type(cause).__name__ == "OutOfMemoryError":
            raise
        raise does_not_fit(str(cause).strip().splitlines()[0] if str(cause).strip() else repr(cause), folder) from cause
    assert isinstance(peft, PeftModel)
    check_whole(peft, folder)
    return peft


def check_whole(peft: PeftModel, folder: Path) -> None:
    """Check that the adapter has exactly the base's tensors. PEFT only warns of a mismatch and ignores the rest.

    Raises:
        HomegroundError: tensors are missing or left over.
    """
    saved, expected = set(check_header(folder / TENSORS)), set(get_peft_model_state_dict(peft))
    if lacking := expected - saved:
        raise does_not_fit(f"{len(lacking)} of its tensors are missing, {min(lacking)} among them", folder)
    if extra := saved - expected:
        raise does_not_fit(f"{len(extra)} of its tensors are left over, {min(extra)} among them", folder)


def does_not_fit(why: str, folder: Path) -> HomegroundError:
    """Error for an adapter of another base."""
    return HomegroundError(
        f"the adapter does not fit this base model: {why}",
        where=str(folder),
        hint="an adapter loads only on the base that it was trained on",
    )


def _check_tensors(folder: Path, settings: dict[str, Any]) -> None:
    file = folder / TENSORS
    if not file.is_file():
        if (folder / "adapter_model.bin").is_file():
            raise HomegroundError(
                "this adapter is a pickle, which can run code when it is read; only safetensors are read",
                where=str(folder / "adapter_model.bin"),
                hint=f"convert it in its folder, if you trust it: {_CONVERT}",
            )
        raise HomegroundError(f"no adapter there: {TENSORS} is missing", where=str(folder), hint="copy it there")
    names = [name for name in check_header(file) if name.endswith(("lora_A.weight", "lora_embedding_A"))]
    with safe_open(file, "pt") as opened:
        ranks: set[Any] = {opened.get_slice(name).get_shape()[0] for name in names}
    pattern = settings.get("rank_pattern") or {}
    given = [settings.get("r", 8), *(cast("dict[str, Any]", pattern).values() if isinstance(pattern, dict) else [None])]
    if not all(isinstance(rank, int) for rank in given) or set(given) != ranks:
        words = ", ".join(map(str, sorted(ranks))) or "none"
        raise _refused(
            folder / CONFIG,
            f"it gives the ranks {', '.join(map(str, dict.fromkeys(given)))}, and its tensors have {words}",
            "the two files are not of one adapter, or one of them is damaged",
        )
    refuse_not_finite([file])


def _check_values(file: Path, settings: dict[str, Any]) -> None:
    """Refuse values that PEFT takes as they come: a text is a true flag, and a scale of NaN gives only NaN."""
    for key in _FLAGS:
        if not isinstance(settings.get(key), bool | None):
            raise _refused(file, f"{key} is {settings[key]!r}", "write true or false, without quotes")
    pattern: Any = settings.get("alpha_pattern") or {}
    scales = {"lora_alpha": settings.get("lora_alpha", 8), **(pattern if isinstance(pattern, dict) else {})}
    for key, scale in scales.items():
        if isinstance(scale, bool) or not isinstance(scale, int | float) or not abs(scale) < _LARGEST_SCALE:
            shown = clipped(repr(scale), 80)
            raise _refused(file, f"the scale of {key} is {shown}, which no adapter has", "copy the file again")
    if (begun := settings.get("init_lora_weights")) not in _KEEP_THE_BASE:
        raise _refused(
            file,
            f"init_lora_weights is {begun!r}, which may change the base's own weights",
            "save it as a plain LoRA with PEFT's path_initial_model_for_weight_conversion, or merge it into its base",
        )


def _check_plain(file: Path, settings: dict[str, Any]) -> None:
    for key in ("rank_pattern", "alpha_pattern", "modules_to_save", "layers_pattern"):
        found: Any = settings.get(key) or []
        for name in [found] if isinstance(found, str) else cast("Iterable[Any]", found):
            if not isinstance(name, str) or not _PLAIN.fullmatch(name):
                raise _refused(file, f"{key} holds {name!r}, which is no name of a module", "write out the names")


def _matching(file: Path, key: str, pattern: str, names: Iterable[str]) -> list[str]:
    options = re2.Options()
    options.log_errors = False
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        raise _refused(
            file,
            f"{key} is a pattern that cannot be matched in linear time: {_said(error)}",
            f"write {key} as a list of names, or without look-around and back references",
        ) from None
    return [name for name in names if compiled.fullmatch(name)]


def _said(error: Exception) -> str:
    said = error.args[0] if error.args else error
    return said.decode(errors="replace") if isinstance(said, bytes) else str(said)


def _refused(file: Path, why: str, hint: str) -> HomegroundError:
    return HomegroundError(f"this adapter's settings are refused: {why}", where=str(file), hint=hint)
