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
            pass
        child.communicate(b"\n")
    assert memory.peak_mb - before > 140
    assert tree_memory_mb() - before < 100


def test_a_peak_is_seen_that_is_over_at_the_end():
    before = tree_memory_mb()
    with PeakMemory() as memory:
        data = bytearray(200_000_000)
        time.sleep(0.5)
        del data
    assert memory.peak_mb - before > 180
    assert memory.peak_mb - tree_memory_mb() > 180
