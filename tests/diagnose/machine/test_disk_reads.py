"""What comes from a disk is counted, and what is in the system's cache is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from accel.diagnose.machine import disk_reads
from accel.diagnose.machine.disk_reads import disk_bytes


def test_a_file_counts_until_it_is_in_memory(tmp_path: Path) -> None:
    file = tmp_path / "file"
    with file.open("wb") as out:
        out.write(bytes(1 << 20))
        os.fdatasync(out.fileno())  # the suite leaves out fsync
        os.posix_fadvise(out.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    before = disk_bytes()
    file.read_bytes()
    first = disk_bytes() - before
    if not first:
        pytest.skip("this file system has no disk, or the system does not tell")
    assert first >= 1 << 20
    file.read_bytes()
    assert disk_bytes() - before == first


def test_where_the_system_does_not_tell_nothing_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in (None, "rchar: 1\n"):
        monkeypatch.setattr(disk_reads, "IO", tmp_path / "io")
        if text is not None:
            (tmp_path / "io").write_text(text)
        assert disk_bytes() == 0
