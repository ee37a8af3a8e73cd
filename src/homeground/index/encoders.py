"""Token ids to vectors: torch or ONNX Runtime, with the same weights.

ONNX Runtime reads a file that is written once a machine from the model that sentence-transformers loads, and needs
neither torch nor sentence-transformers afterwards: a cold query starts in a fraction of a second instead of ten.
"""

from __future__ import annotations

import io
import logging
import os
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from homeground.base.chat_templates import bound_chat_templates
from homeground.base.hardware import usable_cores, version_of
from homeground.base.model_files import loading, refuse_not_finite, weight_files
from homeground.base.weights import cache_home
from homeground.index.protocols import Vectors

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Ids = NDArray[np.int64]
_CPU_TOKENS = 2048  # more does not stay in a core's cache beside the weights: 16384 was half as fast
_GPU_TOKENS = 65536
_EXPORT_VERSION = "1"
_LEAST_COSINE = 0.9999


class Encoder(Protocol):
    """Encodes padded batches.

    Attributes:
        batch_tokens: tokens of a batch, with its padding, at which it is fastest.
    """

    batch_tokens: int

    def __call__(self, ids: Ids, mask: Ids) -> Vectors:
        """Vectors of any length, shape (texts, dimension).

        Args:
            ids: token ids, shape (texts, tokens).
            mask: 1 for a token and 0 for padding, same shape.
        """
        ...


class TorchEncoder:
    """The sentence-transformers model itself."""

    def __init__(self, model: SentenceTransformer) -> None:
        self._model = model
        self.batch_tokens = _CPU_TOKENS if model.device.type == "cpu" else _GPU_TOKENS

    def __call__(self, ids: Ids, mask: Ids) -> Vectors:
        import torch

        device = self._model.device
        features = {
            "input_ids": torch.from_numpy(ids).to(device),  # pyright: ignore[reportUnknownMemberType]
            "attention_mask": torch.from_numpy(mask).to(device),  # pyright: ignore[reportUnknownMemberType]
        }
        with torch.inference_mode():
            found = self._model(features)["sentence_embedding"]
        return np.asarray(found.float().cpu().numpy(), dtype=np.float32)


def torch_encoder(folder: Path, name: str, dtype: str, eager: bool = False) -> TorchEncoder:
    """Load the weights into torch, onto a GPU if there is one.

    Args:
        folder: folder of the weights.
        name: the model's name, for errors.
        dtype: "float32" or "bfloat16".
        eager: compute attention with plain operations on the CPU, as the export needs.

    Raises:
        HomegroundError: it is not a sentence-transformers model, or has a weight that is not finite.
    """
    import torch
    from sentence_transformers import SentenceTransformer

    quiet_loading()
    device = "cuda" if torch.cuda.is_available() and not eager else "cpu"
    chosen: dict[str, Any] = {"dtype": getattr(torch, dtype)}
    if eager:
        chosen["attn_implementation"] = "eager"
    refuse_not_finite(weight_files(folder))
    hint = "give a sentence-transformers model; 'homeground weights' lists the bundled ones"
    with loading(f"the embedder '{name}'", folder, hint):
        model = SentenceTransformer(str(folder), device=device, model_kwargs=chosen, trust_remote_code=False)
    return TorchEncoder(model.eval())


class OnnxEncoder:
    """An exported model in ONNX Runtime, on the CPU."""

    batch_tokens = _CPU_TOKENS

    def __init__(self, file: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        chosen = os.environ.get("OMP_NUM_THREADS", "")  # the one that torch obeys, too
        options.intra_op_num_threads = int(chosen) if chosen.isdigit() and int(chosen) > 0 else usable_cores()
        # Waiting threads that spin take the core from whoever has work.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    def __call__(self, ids: Ids, mask: Ids) -> Vectors:
        found = self._session.run(None, {"input_ids": ids, "attention_mask": mask})
        return np.asarray(found[0], dtype=np.float32)


def exported_file(revision: str) -> Path:
    """Where the model of this revision is, or would be, as ONNX; shared by all workspaces of a user."""
    return cache_home() / "encoders" / f"{revision}-{_EXPORT_VERSION}.onnx"


def export(folder: Path, name: str, revision: str) -> Path | None:
    """Writes the model as ONNX unless that is done; returns the file, or None where it cannot be exported.

    The file is kept only if its vectors equal torch's (cosine above 0.9999, on texts of different lengths).
    """
    file = exported_file(revision)
    failed = file.with_suffix(".failed")
    if file.is_file():
        return file
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_suffix(".lock")):
            if not file.is_file() and not (failed.is_file() and failed.read_text() == _exporter()):
                half = file.with_suffix(".half")
                if _exports(torch_encoder(folder, name, "float32", eager=True), half):
                    half.replace(file)
                else:
                    half.unlink(missing_ok=True)
                    failed.write_text(_exporter())
    except OSError:  # no place for a cache: torch does it
        return None
    return file if file.is_file() else None


def _exporter() -> str:
    """The versions that an export, and so its failure, depends on."""
    return ", ".join(f"{name} {version_of(name)}" for name in ("torch", "transformers", "onnx"))


def _exports(encoder: TorchEncoder, file: Path) -> bool:
    import torch

    class Pooled(torch.nn.Module):
        def __init__(self, model: torch.nn.Module) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            return self.model({"input_ids": input_ids, "attention_mask": attention_mask})["sentence_embedding"]

    ids, mask = _sample((2, 24))
    shapes = {"input_ids": {0: "texts", 1: "tokens"}, "attention_mask": {0: "texts", 1: "tokens"}}
    try:
        with torch.no_grad(), warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            # The exporter that traces takes 2 s where the newer one takes 12.
            cast(Any, torch.onnx.export)(
                Pooled(cast(Any, encoder)._model).eval(),
                (torch.from_numpy(ids), torch.from_numpy(mask)),  # pyright: ignore[reportUnknownMemberType]
                str(file),
                input_names=["input_ids", "attention_mask"],
                output_names=["vectors"],
                dynamic_axes={**shapes, "vectors": {0: "texts"}},
                opset_version=17,
                dynamo=False,
            )
        same = _agree(encoder, OnnxEncoder(file))
    except Exception as error:  # whatever a model does that cannot be traced
        logging.getLogger(__name__).info("no ONNX export: %s", error)
        return False
    return same


def _agree(one: Callable[[Ids, Ids], Vectors], other: Callable[[Ids, Ids], Vectors]) -> bool:
    for shape in ((1, 7), (3, 50)):
        ids, mask = _sample(shape)
        a, b = one(ids, mask), other(ids, mask)
        cosines = (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
        if not np.all(cosines > _LEAST_COSINE):
            return False
    return True


def _sample(shape: tuple[int, int]) -> tuple[Ids, Ids]:
    ids = np.random.default_rng(0).integers(5, 500, shape)
    mask = np.ones(shape, dtype=np.int64)
    mask[-1, shape[1] * 2 // 3 :] = 0
    return ids, mask


def quiet_loading() -> None:
    """Disable transformers' own progress bar, and bound the chat template that a reranker may have."""
    from transformers.utils import logging as hf_logging

    bound_chat_templates()
    hf_logging.disable_progress_bar()
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
