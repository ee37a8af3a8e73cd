"""The adapter of a run as others load it: PEFT's two files, naming the base and no folder of this machine."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from homeground.base.files import atomic_write_json, read_json
from homeground.policy.adapters import RECORD

_CONFIG, _TENSORS = "adapter_config.json", "adapter_model.safetensors"


def write_adapter(adapter: Path, folder: Path, base: str) -> None:
    """Copy an adapter into an existing folder.

    Args:
        adapter: folder in PEFT's format.
        base: the model's name, as others know it.
    """
    config: dict[str, Any] = read_json(adapter / _CONFIG)
    atomic_write_json(folder / _CONFIG, {**config, "base_model_name_or_path": base})
    shutil.copyfile(adapter / _TENSORS, folder / _TENSORS)
    if (adapter / RECORD).is_file():
        # By this Homeground knows the base again.
        record: dict[str, Any] = read_json(adapter / RECORD)
        atomic_write_json(folder / RECORD, {**record, "base": {**record["base"], "name": base}})
