import os
import subprocess
import sys

import pytest

from accel.system.cpu.kept_memory import obstacle
from accel.system.cpu.malloc_thresholds import LARGEST_MMAP_THRESHOLD, MMAP_THRESHOLD, TRIM_THRESHOLD, moving_thresholds
from tests.support.drill_length import times

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


@pytest.mark.slow
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


SETTLED = """
import torch
from accel import Trainer
from accel.plugins import Backend
from accel.system.cpu.malloc_thresholds import moving_thresholds, MMAP_THRESHOLD
class Task(Trainer):
    def model(self): return torch.nn.Linear(4, 2)
    def data(self, split):
        if split == "train":
            return torch.utils.data.TensorDataset(torch.randn(8, 4), torch.zeros(8, dtype=torch.long))
    def loss(self, model, batch): return torch.nn.functional.cross_entropy(model(batch[0]), batch[1])
for plugins in [[Backend(memory="system")], []]:
    Task(epochs=1, watch=(), plugins=plugins).fit()
    print(moving_thresholds()[MMAP_THRESHOLD])
"""


@pytest.mark.slow
def test_a_run_has_them_where_the_largest_tensors_move_them_whatever_was_freed_before() -> None:
    user = {"MALLOC_TRIM_THRESHOLD_": "1000000"}
    for environment, settled in (({}, [False, True]), (user, [False, False]))[
        : times(1, 2)
    ]:  # first by a run that leaves memory to the system
        line, variables = [sys.executable, "-c", SETTLED], os.environ | environment
        done = subprocess.run(line, capture_output=True, text=True, env=variables, check=False)
        assert done.returncode == 0, done.stderr
        assert [int(number) > LARGEST_MMAP_THRESHOLD - MEGABYTE for number in done.stdout.split()] == settled
