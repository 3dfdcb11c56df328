from __future__ import annotations

import torch

from accel.device.memory_peak import ProcessMemoryPeak, highest_memory


def test_a_peak_that_was_reset_counts() -> None:
    before = highest_memory(torch.device("cpu"))["process"]
    torch.ones(1 << 25, dtype=torch.float32)  # 128 MiB, given back at once
    ProcessMemoryPeak().read_and_reset()
    after = highest_memory(torch.device("cpu"))
    assert set(after) == {"process"}
    assert after["process"] >= before
