"""Check a model's or an adapter's files before a library reads them: a downloaded folder may hold anything.

No code from a folder is run: no remote code (`trust_remote_code` is false everywhere), no pickle, and no class that is
named by its import path unless it is one of sentence-transformers. File names may not leave the folder. Weights with
values that are not finite are refused when they are loaded: one NaN makes every output NaN.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from homeground.base.errors import HomegroundError
from homeground.base.files import read_json

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

_OBJECTS = (
    "config.json",
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "processor_config.json",
    "preprocessor_config.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
)
_INDEX, _MODULES = "model.safetensors.index.json", "modules.json"
NAME_A_MODEL = "name a folder with config.json, model.safetensors and tokenizer.json, or see `homeground weights`"
_AGAIN = "fetch the model again, or give another one"
# PyLate's classes are loaded as the sentence-transformers ones.
_KNOWN_MODULES = ("sentence_transformers.", "pylate.models.")
# Both are called without arguments, by their import path.
_ACTIVATIONS = ("activation_fn", "sbert_ce_default_activation_function")


def check_model_folder(folder: Path) -> None:
    """Refuse a folder whose files are inconsistent or name paths outside it; no tensor is read.

    Raises:
        HomegroundError: names the file.
    """
    for name in _OBJECTS:
        if (folder / name).is_file():
            read_object(folder / name)
    _check_activation(folder / "config.json")
    places = [folder, *_module_folders(folder)]
    for shard in _shards(folder):
        if not (folder / shard).is_file():
            raise HomegroundError(
                f"a part of this model is missing: {shard}", where=str(folder / _INDEX), hint="fetch the model again"
            )
    for place in places:
        for file in sorted(place.glob("*.safetensors")):
            check_header(file)


def read_object(file: Path) -> dict[str, Any]:
    """Read a JSON file that must hold an object.

    Raises:
        HomegroundError: it holds something else, or is not JSON.
    """
    try:
        found = read_json(file)
    except (RecursionError, ValueError) as error:
        raise HomegroundError(f"not valid JSON: {error}", where=str(file), hint=_AGAIN) from None
    except HomegroundError as error:
        raise HomegroundError(error.message, where=error.where, hint=_AGAIN) from None
    if not isinstance(found, dict):
        raise HomegroundError(f"not a JSON object but {_kind(found)}", where=str(file), hint=_AGAIN)
    return cast("dict[str, Any]", found)


def check_header(file: Path) -> list[str]:
    """The names of a safetensors file's tensors.

    Raises:
        HomegroundError: it is truncated, or its header is longer than the file, or tensors overlap.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "np") as opened:
            return list(opened.keys())
    except (SafetensorError, OSError) as error:
        raise HomegroundError(
            f"not a whole safetensors file: {error}", where=str(file), hint="fetch it again; it may be truncated"
        ) from None


def refuse_not_finite(files: Iterable[Path]) -> None:
    """Read every tensor of safetensors files once.

    Raises:
        HomegroundError: a value is NaN or infinite; names tensor and file.
    """
    from safetensors import safe_open

    for file in files:
        names = check_header(file)
        with safe_open(file, "pt") as opened:
            for name in names:
                if not is_finite(opened.get_tensor(name)):
                    raise HomegroundError(
                        f"the tensor '{name}' has values that are not finite (NaN or infinity)",
                        where=str(file),
                        hint="fetch it again; if it was trained, take an earlier checkpoint of that training",
                    )


def is_finite(tensor: Any) -> bool:
    """Test whether all values of a torch tensor are finite."""
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    # Torch cannot compare its 8-bit types; for others, finding the extremes takes a fortieth of the time of `isfinite`.
    low, high = (tensor if tensor.element_size() > 1 else tensor.float()).aminmax()
    return bool(low.isfinite() and high.isfinite())


def weight_files(folder: Path) -> list[Path]:
    """Safetensors files of a checked folder: the model's own and its modules'."""
    return [file for place in (folder, *_module_folders(folder)) for file in sorted(place.glob("*.safetensors"))]


def read_config(folder: Path) -> PretrainedConfig:
    """Read the configuration of a checked folder.

    Raises:
        HomegroundError: transformers does not support this architecture, or only with remote code.
    """
    from transformers import AutoConfig

    with loading("the model's configuration", folder, NAME_A_MODEL):
        return AutoConfig.from_pretrained(str(folder), trust_remote_code=False)


def read_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Read the tokenizer of a checked folder.

    Raises:
        HomegroundError: its files are broken, or it needs remote code.
    """
    from transformers import AutoTokenizer

    with loading("the model's tokenizer", folder, "fetch its tokenizer.json again, or see `homeground weights`"):
        return AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)


@contextlib.contextmanager
def loading(what: str, folder: Path, hint: str) -> Generator[None]:
    """Report a failure of a loading library as an error of the folder.

    Args:
        what: name of the thing being loaded, for the message.
        hint: what to do, unless the model needs remote code.

    Raises:
        HomegroundError: the block failed.
    """
    try:
        yield
    except (HomegroundError, MemoryError):
        raise
    except Exception as cause:  # tokenizers raises nothing narrower, and configurations fail in every way
        if type(cause).__name__ == "OutOfMemoryError":
            raise
        said = str(cause).strip()
        if "trust_remote_code" in said:
            raise HomegroundError(
                f"{what} needs Python code that comes with it, and code from a model's folder is never run",
                where=str(folder),
                hint="give a model that transformers knows by itself (without auto_map in its config.json)",
            ) from cause
        why = said.splitlines()[0] if said else type(cause).__name__
        raise HomegroundError(f"{what} cannot be loaded: {why}", where=str(folder), hint=hint) from cause


def _shards(folder: Path) -> set[str]:
    file = folder / _INDEX
    if not file.is_file():
        return set()
    listed = read_object(file).get("weight_map")
    if not isinstance(listed, dict):
        raise HomegroundError("it has no 'weight_map' that names the model's parts", where=str(file), hint=_AGAIN)
    parts = set(cast("dict[str, Any]", listed).values())
    for part in parts:
        if not isinstance(part, str) or part != Path(part).name or part in ("", ".."):
            raise HomegroundError(
                f"it names {part!r}, which is no file of this folder",
                where=str(file),
                hint="such an index is damaged or hostile: give another model",
            )
    return parts


def _module_folders(folder: Path) -> list[Path]:
    """Folders of a sentence-transformers model's modules; other classes and paths outside the folder are refused."""
    file = folder / _MODULES
    if not file.is_file():
        return []
    modules = read_json(file)
    if not isinstance(modules, list) or not all(isinstance(m, dict) for m in cast("list[Any]", modules)):
        raise HomegroundError("it lists no modules", where=str(file), hint=_AGAIN)
    found: list[Path] = []
    for module in cast("list[dict[str, Any]]", modules):
        kind, path = module.get("type"), module.get("path", "")
        if not isinstance(kind, str) or not kind.startswith(_KNOWN_MODULES):
            raise HomegroundError(
                f"it names the class {kind!r}, which is not one of sentence-transformers: its code would be run",
                where=str(file),
                hint="give a model that sentence-transformers knows by itself",
            )
        if not isinstance(path, str) or Path(path).is_absolute() or ".." in Path(path).parts:
            raise HomegroundError(f"it names {path!r}, which is outside this folder", where=str(file), hint=_AGAIN)
        place = folder / path
        for name in ("config.json", "router_config.json"):
            if place != folder and (place / name).is_file():
                read_object(place / name)
        if place != folder:
            found.append(place)
    return found


def _check_activation(file: Path) -> None:
    if not file.is_file():
        return
    config = read_object(file)
    inner = config.get("sentence_transformers")
    for names in (config, cast("dict[str, Any]", inner) if isinstance(inner, dict) else {}):
        for key in _ACTIVATIONS:
            named = names.get(key)
            if isinstance(named, str) and "." in named and not named.startswith("torch.nn."):
                raise HomegroundError(
                    f"it names {named!r} as its {key}, which is none of torch.nn: its code would be run",
                    where=str(file),
                    hint="give a model that sentence-transformers knows by itself",
                )


def _kind(value: object) -> str:
    return "a list" if isinstance(value, list) else "null" if value is None else "a single value"
