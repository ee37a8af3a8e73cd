"""A full disk is recognised whoever notices it; files are limited to 4 KiB, so that the system itself refuses."""

import errno
import resource
import sqlite3

import pytest
import torch
from safetensors.torch import save_file

from homeground.base.fulldisk import full_disk
from homeground.runs.steplog import append_jsonl


@pytest.fixture
def small_files():
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def save_adapter(folder):
    save_file({"weight": torch.zeros(4096)}, folder / "adapter.safetensors")


def log_a_step(folder):
    append_jsonl(folder / "metrics.jsonl", {"words": "x" * 8192})


@pytest.mark.parametrize("write", [save_adapter, log_a_step])
def test_what_training_writes(write, tmp_path, small_files):
    with pytest.raises(Exception) as caught:  # noqa: PT011 # each library has its own
        write(tmp_path)
    told = full_disk(caught.value)
    assert told is not None
    assert "MB are free" in told.message
    assert "--home" in told.hint


def test_sqlite_and_an_error_that_it_caused(tmp_path):
    with sqlite3.connect(tmp_path / "a.sqlite") as database:
        database.execute("create table a (b)")
        database.execute("pragma max_page_count = 3")
        with pytest.raises(sqlite3.OperationalError) as caught:
            database.execute("insert into a values (zeroblob(100000))")
    later = RuntimeError("the index could not be written")
    later.__cause__ = caught.value
    assert full_disk(later).message.startswith("the disk is full: ")


def test_the_file_is_named():
    error = OSError(errno.ENOSPC, "No space left on device", "/dev/full")
    assert full_disk(error).where == "/dev/full"


@pytest.mark.parametrize("error", [ValueError("os error 28"), FileNotFoundError(2, "no such file"), KeyError("x")])
def test_other_errors_are_left_alone(error):
    assert full_disk(error) is None
