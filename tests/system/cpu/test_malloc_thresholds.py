import subprocess
import sys

import pytest

from accel.system.cpu.kept_memory import obstacle
from accel.system.cpu.malloc_thresholds import LARGEST_MMAP_THRESHOLD, MMAP_THRESHOLD, TRIM_THRESHOLD, moving_thresholds

pytestmark = pytest.mark.skipif(bool(obstacle({})), reason="needs glibc")
MEGABYTE = 2**20
FREED = """
import sys, torch
from accel.system.cpu.malloc_thresholds import MMAP_THRESHOLD, moving_thresholds
for megabytes in map(int, sys.argv[1:]):
    tensor = torch.empty(megabytes << 20, dtype=torch.uint8)
    del tensor
    first, second = moving_thresholds(), moving_thresholds()
    print(first[MMAP_THRESHOLD], abs(second[MMAP_THRESHOLD] - first[MMAP_THRESHOLD]) < 2**18)  # what the end of the heap holds
"""


def test_they_are_where_the_largest_freed_tensor_has_moved_them_and_reading_moves_nothing() -> None:
    sizes = ["4", "9", "5", "20", "100"]
    lines = subprocess.run([sys.executable, "-c", FREED, *sizes], check=True, capture_output=True, text=True).stdout.split()
    assert lines[1::2] == ["True"] * len(sizes)
    expected = [4, 9, 9, 20, 20]  # larger ones than 32 MB are mapped always, and move nothing
    for line, megabytes in zip(lines[::2], expected, strict=True):
        assert megabytes * MEGABYTE <= int(line) < (megabytes + 1) * MEGABYTE


def test_memory_goes_back_when_twice_as_much_is_free() -> None:
    thresholds = moving_thresholds()
    assert thresholds[TRIM_THRESHOLD] == 2 * thresholds[MMAP_THRESHOLD]
    assert thresholds[MMAP_THRESHOLD] <= LARGEST_MMAP_THRESHOLD
