import subprocess
import sys

import pytest

SCRIPT = """
import threading, psutil, torch
from homeground.base.threads import release_workers

torch.set_num_threads(2)
threads = psutil.Process().num_threads
idle = threads()
torch.randn(900, 900) @ torch.randn(900, 900)
torch.randn(3_000_000).exp()
busy = threads()
release_workers()
print(busy - idle, busy - threads())
torch.randn(3_000_000).exp()
print(threads() - idle)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="torch runs on libgomp on Linux only")
def test_workers_end_and_come_back():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    [started, ended], [again] = [list(map(int, line.split())) for line in done.stdout.splitlines()]
    assert started >= 1
    assert ended >= 1
    assert again >= 1


def test_nothing_is_loaded_where_torch_is_not():
    script = "from homeground.base.threads import release_workers; release_workers()"
    subprocess.run([sys.executable, "-c", script], check=True)
