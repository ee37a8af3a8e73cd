"""GGUF files that count more than they hold are refused at once, in little memory."""

import struct
import time
import tracemalloc

import pytest

from homeground.base.errors import HomegroundError
from homeground.base.gguf_bounds import check_bounds
from homeground.base.gguf_model import convert_gguf

from .test_gguf_model import folder, write  # noqa: F401 (fixtures)

U32, STRING, ARRAY = 4, 8, 9
HUGE = 2**40


def name(text="a", length=None):
    data = text.encode()
    return struct.pack("<Q", len(data) if length is None else length) + data


def head(tensors=0, fields=0, version=3):
    return b"GGUF" + struct.pack("<IQQ", version, tensors, fields)


def field(kind, value=b"", text="a"):
    return name(text) + struct.pack("<I", kind) + value


def array(kind, count, content=b""):
    return field(ARRAY, struct.pack("<IQ", kind, count) + content)


def tensor(dims, kind=0, offset=0, text="t", count=None):
    written = struct.pack(f"<I{len(dims)}Q", len(dims) if count is None else count, *dims)
    return name(text) + written + struct.pack("<IQ", kind, offset)


def padded(header, data=b""):
    return header + b"\0" * (-len(header) % 32) + data


HOSTILE = {
    "array of 2^40 numbers": head(fields=1) + array(U32, HUGE),
    "array of 2^40 texts": head(fields=1) + array(STRING, HUGE),
    "array of 2^64-1 bytes": head(fields=1) + array(0, 2**64 - 1),
    "an array that is there, of too many": head(fields=1) + array(0, 5_000_000, b"\0" * 5_000_000),
    "array of arrays": head(fields=1) + array(ARRAY, 1, struct.pack("<IQ", ARRAY, 1) * 5000),
    "array of an unknown type": head(fields=1) + array(99, 1),
    "2^60 tensors": head(tensors=2**60) + b"\0" * 1_000_000,
    "2^60 fields": head(fields=2**60) + b"\0" * 1_000_000,
    "a name beyond the end": head(fields=1) + name(length=HUGE),
    "a long name": head(fields=1) + field(U32, b"\0" * 4, "n" * 70_000),
    "a text beyond the end": head(fields=1) + field(STRING, name(length=2**63)),
    "a value of an unknown type": head(fields=1) + field(77),
    "the same name twice": head(fields=2) + field(U32, b"\0" * 4) * 2,
    "2^31 dimensions": head(tensors=1) + tensor([1], count=2**31),
    "no dimension": head(tensors=1) + tensor([]),
    "a product that overflows": head(tensors=1) + tensor([2**32, 2**32]),
    "a product that overflows to little": head(tensors=1) + tensor([2**63, 2, 1]),
    "an empty tensor": head(tensors=1) + tensor([0]),
    "half a block": head(tensors=1) + tensor([33], kind=8),
    "an unknown number format": head(tensors=1) + tensor([4], kind=9999),
    "a tensor beyond the end": padded(head(tensors=1) + tensor([64], offset=HUGE), b"\0" * 256),
    "a tensor longer than the file": padded(head(tensors=1) + tensor([HUGE]), b"\0" * 256),
    "tensors over each other": padded(
        head(tensors=2) + tensor([32], text="s") + tensor([32], offset=64, text="t"), b"\0" * 256
    ),
    "an alignment of zero": head(fields=1) + field(U32, struct.pack("<I", 0), "general.alignment"),
    "an odd alignment": head(fields=1) + field(U32, struct.pack("<I", 33), "general.alignment"),
    "a large alignment": head(fields=1) + field(U32, struct.pack("<I", 2**31), "general.alignment"),
    "another version": head(version=99),
    "another order of bytes": b"GGUF" + struct.pack(">IQQ", 3, 0, 0),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_the_file_does_not_hold_is_refused_at_once(tmp_path, folder, what):  # noqa: F811
    file = tmp_path / "hostile.gguf"
    file.write_bytes(HOSTILE[what])
    tracemalloc.start()
    began = time.process_time()
    with pytest.raises(HomegroundError, match="not a readable GGUF file") as caught:
        convert_gguf(file, folder)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert time.process_time() - began < 5
    assert most < 50_000_000
    assert caught.value.where == str(file)


def test_a_whole_file_passes_and_none_of_its_beginnings(tmp_path, write):  # noqa: F811
    file = write()
    check_bounds(file)
    whole = file.read_bytes()
    for length in [*range(0, 2000, 7), len(whole) - 1]:
        file.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"byte|empty|begin|end"):
            check_bounds(file)


@pytest.mark.parametrize(
    "change",
    [
        lambda writer: writer.add_head_count(0),
        lambda writer: writer.add_head_count(7),
        lambda writer: writer.add_bos_token_id(10**6),
        lambda writer: writer.add_token_types([1, 2]),
        lambda writer: writer.add_string("llama.context_length", "long"),
        lambda writer: writer.add_array("llama.embedding_length", [1, 2]),
        lambda writer: writer.add_string("tokenizer.ggml.tokens", "one"),
        lambda writer: writer.add_array("tokenizer.ggml.tokens", [1, 2, 3]),
    ],
)
def test_values_that_contradict_each_other_are_an_error_with_the_file(write, folder, change):  # noqa: F811
    def altered(writer):
        for part in writer.kv_data:
            part_before = dict(part)
            part.clear()
            change(writer)
            new = dict(part)
            part.clear()
            part |= part_before | new

    file = write(change=altered)
    with pytest.raises(HomegroundError) as caught:
        convert_gguf(file, folder)
    assert caught.value.where == str(file)
    assert caught.value.hint
