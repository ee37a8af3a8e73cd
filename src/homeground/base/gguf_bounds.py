"""Check a GGUF file's header against the file's size before a library reads it and trusts its counts."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

_SCALARS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_UINT32, _STRING, _ARRAY = 4, 8, 9
_ELEMENTS = 1 << 22
"""Limit on the elements of all arrays: gguf creates an object for each. The largest vocabularies need a third."""
_DIMENSIONS, _LARGEST_ALIGNMENT = 4, 1 << 16


def check_bounds(file: Path) -> None:
    """Walk the header once, in little memory.

    Raises:
        ValueError: not a GGUF file, truncated, counts exceed its size, or tensors overlap or lie outside it.
    """
    with file.open("rb") as stream:
        if not file.stat().st_size:
            raise ValueError("it is empty")
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            _Walk(data).check()


class _Walk:
    def __init__(self, data: mmap.mmap) -> None:
        self._data, self._at, self._elements = data, 0, 0

    def check(self) -> None:
        if self._bytes(4) != b"GGUF":
            raise ValueError("it does not begin with GGUF")
        if (version := self._number("<I")) not in (2, 3):
            raise ValueError(f"its version is {version}, and 2 and 3 are known")
        tensors, fields = self._number("<Q"), self._number("<Q")
        alignment, seen = 32, set[bytes]()
        for _ in range(fields):
            name = self._new(seen)
            kind = self._number("<I")
            begin = self._at
            self._value(kind)
            if name == b"general.alignment" and kind == _UINT32:
                (alignment,) = struct.unpack_from("<I", self._data, begin)
        if not 0 < alignment <= _LARGEST_ALIGNMENT or alignment & (alignment - 1):
            raise ValueError(f"an alignment of {alignment}")
        seen.clear()
        places = sorted(self._tensor(seen) for _ in range(tensors))
        end = -(-self._at // alignment) * alignment
        start = end
        for offset, size in places:
            if start + offset < end:
                raise ValueError("tensors overlap")
            end = start + offset + size
        if places and end > len(self._data):
            raise ValueError(f"its tensors end at byte {end}, and the file at {len(self._data)}")

    def _bytes(self, count: int) -> bytes:
        if count > len(self._data) - self._at:
            raise ValueError(f"byte {self._at}: {count} bytes are announced, and the file ends before")
        self._at += count
        return self._data[self._at - count : self._at]

    def _skip(self, count: int) -> None:
        if count > len(self._data) - self._at:
            raise ValueError(f"byte {self._at}: {count} bytes are announced, and the file ends before")
        self._at += count

    def _number(self, form: str) -> int:
        found: int = struct.unpack(form, self._bytes(struct.calcsize(form)))[0]
        return found

    def _new(self, seen: set[bytes]) -> bytes:
        """Check that a name is new; otherwise a file of zeros would hold endless empty names."""
        length = self._number("<Q")
        name = self._bytes(length) if length <= 1 << 16 else None
        if name is None or name in seen:
            raise ValueError(f"byte {self._at}: a name occurs twice, or is {length} bytes long")
        seen.add(name)
        return name

    def _value(self, kind: int) -> None:
        if kind in _SCALARS:
            self._skip(_SCALARS[kind])
        elif kind == _STRING:
            self._skip(self._number("<Q"))
        elif kind == _ARRAY:
            inner, count = self._number("<I"), self._number("<Q")
            self._elements += count
            if inner not in _SCALARS and inner != _STRING:
                raise ValueError(f"byte {self._at}: an array of type {inner}")
            if self._elements > _ELEMENTS:
                raise ValueError(f"byte {self._at}: an array of {count} elements")
            for _ in range(count if inner == _STRING else 0):
                self._skip(self._number("<Q"))
            self._skip(count * _SCALARS.get(inner, 0))
        else:
            raise ValueError(f"byte {self._at}: a value of type {kind}")

    def _tensor(self, seen: set[bytes]) -> tuple[int, int]:
        """Offset and size of a tensor, in bytes."""
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

        self._new(seen)
        if not 0 < (dimensions := self._number("<I")) <= _DIMENSIONS:
            raise ValueError(f"byte {self._at}: a tensor of {dimensions} dimensions")
        count = 1
        for _ in range(dimensions):
            count *= self._number("<Q")
        block, size = GGML_QUANT_SIZES[GGMLQuantizationType(self._number("<I"))]
        offset = self._number("<Q")
        if not count or count % block or count // block * size > len(self._data):
            raise ValueError(f"byte {self._at}: a tensor of {count} numbers")
        return offset, count // block * size
