"""Dense vectors of texts: a sentence-transformers bi-encoder (Reimers, Gurevych 2019, arXiv 1908.10084)."""

from __future__ import annotations

import hashlib
import logging
import random
import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from homeground.base.errors import HomegroundError
from homeground.base.weights import resolve_model

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from tokenizers import Tokenizer

Vectors = NDArray[np.float32]
_BATCH_TOKENS = 4096
_COUNTED = 1024
_SPECIAL_TOKENS = 2
_PAD_TO = 16  # every new shape costs oneDNN a primitive and its scratch memory, for good


class Embedder:
    """A bi-encoder, loaded when first needed.

    Args:
        name: bundled name, local folder or hub id.
        max_tokens: longer texts are cut there.
        backend: number type; "auto" is bf16 on CPUs with AMX or AVX512-BF16 and on GPUs, else fp32.

    Safe to call from several threads: one forward runs at a time.
    """

    def __init__(self, name: str, max_tokens: int, backend: Literal["auto", "bf16", "fp32"] = "auto") -> None:
        self.name = name
        self.max_tokens = max_tokens
        self._backend = backend
        self._lock = threading.Lock()

    @cached_property
    def folder(self) -> Path:
        """Where the weights lie."""
        return resolve_model(self.name)

    @cached_property
    def revision(self) -> str:
        """Hash of weights and tokenizer: vectors of another revision are not comparable."""
        state = hashlib.blake2b(digest_size=8)
        for path in sorted(self.folder.glob("*.safetensors")) + sorted(self.folder.glob("tokenizer.json")):
            with path.open("rb") as stream:
                state.update(hashlib.file_digest(stream, "blake2b").digest())
        return state.hexdigest()

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        from tokenizers import Tokenizer

        path = self.folder / "tokenizer.json"
        if not path.is_file():
            raise HomegroundError(
                "the embedder has no tokenizer.json", where=str(path), hint="choose a model with a fast tokenizer"
            )
        tokenizer = Tokenizer.from_file(str(path))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special tokens not counted."""
        lengths: list[int] = []
        for at in range(0, len(texts), _COUNTED):  # encodings are a hundred times larger than their text
            encoded = self._tokenizer.encode_batch_fast(list(texts[at : at + _COUNTED]), add_special_tokens=False)
            lengths.extend(len(one) for one in encoded)
        return lengths

    @cached_property
    def _model(self) -> SentenceTransformer:
        import torch
        from sentence_transformers import SentenceTransformer

        quiet_loading()
        device = "cuda" if torch.cuda.is_available() else "cpu"
        dtype = torch.bfloat16 if self._in_bf16(device) else torch.float32
        try:
            model = SentenceTransformer(
                str(self.folder), device=device, model_kwargs={"dtype": dtype}, trust_remote_code=False
            )
            cast(Any, model[0]).processing_kwargs = {"text": {"pad_to_multiple_of": _PAD_TO}}
        except (OSError, ValueError) as error:
            raise HomegroundError(
                f"the embedder '{self.name}' cannot be loaded: {error}",
                where=str(self.folder),
                hint="give a sentence-transformers model; 'homeground weights' lists the bundled ones",
            ) from error
        model.max_seq_length = min(self.max_tokens, model.max_seq_length or self.max_tokens)
        return model.eval()

    def _in_bf16(self, device: str) -> bool:
        import torch

        if self._backend != "auto":
            return self._backend == "bf16"
        if device == "cuda":
            return torch.cuda.is_bf16_supported()
        # Emulated bf16 is slower than fp32: only processors that multiply in it take it.
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and _has_bf16_instructions()

    def load(self) -> None:
        """Loads the weights now instead of at the first text."""
        with self._lock:
            _ = self._model

    def encode(self, texts: Sequence[str], each: Callable[[list[int], Vectors], None]) -> None:
        """Embeds the texts, batch by batch.

        Texts of about equal length share a batch, so little is padding; the batches come in random (seeded) order,
        so the time left can be told from the share done.

        Args:
            texts: any number of texts.
            each: receives the positions of a batch's texts and their unit vectors, shape (batch, dimension).
        """
        lengths = self.count(texts)
        order = sorted(range(len(texts)), key=lengths.__getitem__)
        batches = self._batches(order, lengths)
        random.Random(0).shuffle(batches)
        for batch in batches:
            each(batch, self._forward([texts[at] for at in batch]))

    def _batches(self, order: Sequence[int], lengths: Sequence[int]) -> list[list[int]]:
        """Runs of `order` (shortest first), each of at most `_BATCH_TOKENS` tokens with its padding."""
        batches: list[list[int]] = []
        for at in order:
            width = min(lengths[at] + _SPECIAL_TOKENS, self.max_tokens)
            width = -(-width // _PAD_TO) * _PAD_TO
            if not batches or width * (len(batches[-1]) + 1) > _BATCH_TOKENS:
                batches.append([])
            batches[-1].append(at)
        return batches

    def encode_all(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of all texts, shape (texts, dimension)."""
        rows: dict[int, Vectors] = {}

        def keep(positions: list[int], vectors: Vectors) -> None:
            rows.update(zip(positions, vectors, strict=True))

        self.encode(texts, keep)
        return np.stack([rows[at] for at in range(len(texts))])

    def encode_query(self, query: str) -> Vectors:
        """Unit vector of a query, shape (dimension,)."""
        # Half of a surrogate pair (a cut emoji) is no text to a tokenizer.
        return self._forward([query.encode("utf-8", "replace").decode("utf-8")])[0]

    def _forward(self, texts: list[str]) -> Vectors:
        with self._lock:
            raw = self._model.encode(
                texts, batch_size=len(texts), convert_to_numpy=True, normalize_embeddings=False, show_progress_bar=False
            )
        vectors = np.asarray(raw, dtype=np.float32)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return (vectors / np.maximum(norms, 1e-12)).astype(np.float32)


def quiet_loading() -> None:
    """Loading takes a second: no bar of its own among ours."""
    from transformers.utils import logging as hf_logging

    hf_logging.disable_progress_bar()
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)


def _has_bf16_instructions() -> bool:
    import torch

    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, probe)()) for probe in probes if hasattr(torch.cpu, probe))
