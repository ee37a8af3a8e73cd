import subprocess
import sys

import pytest


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc's heap is told")
def test_freed_blocks_go_back_to_the_system_at_once_or_are_kept():
    # A process of its own: other threads' blocks would come between.
    script = """
import ctypes, sys
from homeground.base.heap import KEPT, blocks_returned
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
def left():
    before = resident()
    blocks = [libc.malloc(4 << 20) for _ in range(20)]
    for block in blocks:
        ctypes.memset(block, 1, 4 << 20)
    for block in blocks:
        libc.free(block)
    return (resident() - before) >> 20
with blocks_returned(at_least=2 << 20):
    inside = left()
    with blocks_returned(at_least=KEPT):
        kept = left()
    again = left()
print(inside, kept, again)
"""
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    inside, kept, again = map(int, out.split())
    assert inside < 8
    assert kept > 70
    assert again < 8


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc's heap is told")
def test_products_of_ever_other_sizes_do_not_pile_up():
    script = """
import ctypes
from homeground.base.heap import limit_primitives
limit_primitives()
import torch
torch.set_num_threads(1)
fields = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
class Heap(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in fields.split()]
libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Heap
weight = torch.zeros(64, 64, dtype=torch.bfloat16)
def used_after(first):
    for rows in range(first, first + 300):
        torch.zeros(rows, 64, dtype=torch.bfloat16) @ weight
    return libc.mallinfo2().uordblks
print(used_after(1), used_after(301))
"""
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    first, second = map(int, out.split())
    assert second - first < 10 << 20


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc's heap is told")
def test_what_runs_for_days_gives_freed_memory_back_where_it_has_worked():
    script = """
import ctypes, time
from homeground.base.heap import trimming
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
done = 0
with trimming(0.05, lambda: done):
    blocks = [libc.malloc(64 << 10) for _ in range(1000)]
    for block in blocks:
        ctypes.memset(block, 1, 64 << 10)
    for block in blocks[:-1]:
        libc.free(block)
    before = resident()
    time.sleep(0.5)
    idle = resident()
    done = 1
    deadline = time.monotonic() + 20
    while resident() > before - (40 << 20) and time.monotonic() < deadline:
        time.sleep(0.05)
    print((before - idle) >> 20, (before - resident()) >> 20)
"""
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    idle, worked = map(int, out.split())
    assert idle < 8
    assert worked >= 40
