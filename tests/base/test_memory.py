import subprocess
import sys
import time

from homeground.base.memory import PeakMemory, tree_memory_mb


def test_memory_of_child_processes_counts():
    before = tree_memory_mb()
    script = "data = bytearray(150_000_000); print('ready', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        with PeakMemory() as memory:
            during = memory.mark()
        child.communicate(b"\n")
    assert during - before > 140
    assert tree_memory_mb() - before < 100


def test_a_peak_between_two_marks_is_seen_and_then_forgotten():
    with PeakMemory() as memory:
        base = memory.mark()
        data = bytearray(200_000_000)
        time.sleep(0.5)
        del data
        peak = memory.mark()
        after = memory.mark()
    assert peak - base > 180
    assert peak - after > 180
    assert memory.peak_mb >= peak
