"""Dense vectors of texts: a sentence-transformers bi-encoder (Reimers, Gurevych 2019, arXiv 1908.10084)."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from homeground.base.errors import HomegroundError
from homeground.base.hardware import best_device, bf16_is_fast
from homeground.base.model_files import loading, read_object
from homeground.base.weights import resolve_model
from homeground.index.config import Backend
from homeground.index.encoders import Encoder, OnnxEncoder, export, exported_file, torch_encoder
from homeground.index.protocols import Vectors

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_COUNTED = 1024
_PAD_TO = 16  # every new shape costs oneDNN a primitive and its scratch memory, for good
_TORCH_PAYS = 60_000
"""Tokens from which torch in bf16 is done first, although it takes 9 s to import and load and ONNX Runtime half a
second: 17,000 against 4,700 tokens/s on two cores with AMX."""


class SentenceEmbedder:
    """A bi-encoder, loaded when first needed.

    Args:
        name: bundled name, local folder or hub id.
        max_tokens: longer texts are cut there.
        backend: "bf16" and "fp32" are torch, "onnx" an exported copy in ONNX Runtime. "auto" is ONNX Runtime, which
            starts fastest, but for much text torch on a GPU or a processor that multiplies in bf16.

    Safe to call from several threads: one forward runs at a time.
    """

    def __init__(self, name: str, max_tokens: int, backend: Backend) -> None:
        self.name = name
        self.max_tokens = max_tokens
        self._backend = backend
        self._lock = threading.RLock()
        self._encoders: dict[str, Encoder] = {}

    @cached_property
    def folder(self) -> Path:
        """Where the weights lie."""
        return resolve_model(self.name)

    @property
    def revision(self) -> str:
        """Hash of weights and tokenizer: vectors of another revision are not comparable."""
        return self._revision

    @cached_property
    def _revision(self) -> str:
        state = hashlib.blake2b(digest_size=8)
        for path in sorted(self.folder.glob("*.safetensors")) + sorted(self.folder.glob("tokenizer.json")):
            with path.open("rb") as stream:
                state.update(hashlib.file_digest(stream, "blake2b").digest())
        return state.hexdigest()

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return self._load_tokenizer()

    @cached_property
    def _cutting_tokenizer(self) -> Tokenizer:
        tokenizer = self._load_tokenizer()
        tokenizer.enable_truncation(min(self.max_tokens, self._longest or self.max_tokens))
        return tokenizer

    def _load_tokenizer(self) -> Tokenizer:
        from tokenizers import Tokenizer

        path = self.folder / "tokenizer.json"
        if not path.is_file():
            raise HomegroundError(
                "the embedder has no tokenizer.json", where=str(path), hint="choose a model with a fast tokenizer"
            )
        with loading("the embedder's tokenizer", path, "fetch the model again, or give another one"):
            tokenizer = Tokenizer.from_file(str(path))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    @cached_property
    def _longest(self) -> int | None:
        path = self.folder / "sentence_bert_config.json"
        return read_object(path).get("max_seq_length") if path.is_file() else None

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special tokens not counted."""
        lengths: list[int] = []
        for at in range(0, len(texts), _COUNTED):  # encodings are a hundred times larger than their text
            encoded = self._tokenizer.encode_batch_fast(list(texts[at : at + _COUNTED]), add_special_tokens=False)
            lengths.extend(len(one) for one in encoded)
        return lengths

    def _for_query(self) -> Encoder:
        """Encoder of queries; torch where the model cannot be exported."""
        if self._backend != "auto":
            return self._encoder(self._backend)
        return self._encoder("onnx" if self._exported() else self._torch_kind())

    def _for_texts(self, tokens: int) -> Encoder:
        """Encoder of this many tokens."""
        if self._backend != "auto":
            return self._encoder(self._backend)
        if tokens >= _TORCH_PAYS and (best_device() == "cuda" or bf16_is_fast()):
            return self._encoder(self._torch_kind())
        started = next((kind for kind in ("bf16", "fp32") if kind in self._encoders), None)
        return self._encoder(started) if started is not None else self._for_query()

    def _exported(self) -> bool:
        return exported_file(self.revision).is_file() or export(self.folder, self.name, self.revision) is not None

    def _encoder(self, kind: str) -> Encoder:
        if kind not in self._encoders:
            self._encoders[kind] = self._opened(kind)
        return self._encoders[kind]

    def _opened(self, kind: str) -> Encoder:
        if kind in ("bf16", "fp32"):
            return torch_encoder(self.folder, self.name, "bfloat16" if kind == "bf16" else "float32")
        file = export(self.folder, self.name, self.revision)
        if file is None:
            raise HomegroundError(
                f"the embedder '{self.name}' cannot be exported to ONNX",
                where="index.backend: onnx",
                hint="set index.backend to auto, bf16 or fp32",
            )
        return OnnxEncoder(file)

    def _torch_kind(self) -> str:
        return "bf16" if bf16_is_fast() else "fp32"

    def encode(self, texts: Sequence[str]) -> Iterator[tuple[list[int], Vectors]]:
        """Embed the texts, batch by batch.

        Texts of about equal length share a batch, so little is padding. Batches come in random (seeded) order, so the
        time left can be estimated from the share done.

        Args:
            texts: as many as memory may hold with their token ids.

        Yields:
            Positions of a batch's texts, and their unit vectors, shape (batch, dimension).
        """
        if not texts:
            return
        ids = self._ids(texts)
        lengths = [len(one) for one in ids]
        with self._lock:
            encoder = self._for_texts(sum(lengths))
        order = sorted(range(len(texts)), key=lengths.__getitem__)
        batches = self._batches(order, lengths, encoder.batch_tokens)
        random.Random(0).shuffle(batches)
        for batch in batches:
            yield batch, self._forward(encoder, [ids[at] for at in batch])

    def _ids(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """Token ids of each text, special tokens included, cut at the most that the model reads."""
        found: list[NDArray[np.int32]] = []
        for at in range(0, len(texts), _COUNTED):
            encoded = self._cutting_tokenizer.encode_batch_fast(list(texts[at : at + _COUNTED]))
            found.extend(np.array(one.ids, dtype=np.int32) for one in encoded)
        return found

    def _batches(self, order: Sequence[int], lengths: Sequence[int], most: int) -> list[list[int]]:
        """Runs of `order` (shortest first), each of at most `most` tokens with its padding."""
        batches: list[list[int]] = []
        for at in order:
            width = _padded_width(lengths[at])
            if not batches or width * (len(batches[-1]) + 1) > most:
                batches.append([])
            batches[-1].append(at)
        return batches

    def encode_query(self, query: str) -> Vectors:
        """Unit vector of a query, shape (dimension,)."""
        # Half of a surrogate pair (a cut emoji) is no text to a tokenizer.
        text = query.encode("utf-8", "replace").decode("utf-8")
        with self._lock:
            encoder = self._for_query()
        return self._forward(encoder, self._ids([text]))[0]

    def _forward(self, encoder: Encoder, ids: Sequence[NDArray[np.int32]]) -> Vectors:
        """Unit vectors of the texts with these token ids, shape (texts, dimension)."""
        width = _padded_width(max(map(len, ids)))
        padded = np.zeros((len(ids), width), dtype=np.int64)
        mask = np.zeros_like(padded)
        for row, one in enumerate(ids):
            padded[row, : len(one)] = one
            mask[row, : len(one)] = 1
        with self._lock:
            vectors = encoder(padded, mask)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return (vectors / np.maximum(norms, 1e-12)).astype(np.float32)


def _padded_width(length: int) -> int:
    return -(-length // _PAD_TO) * _PAD_TO
