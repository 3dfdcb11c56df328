"""A run directory is written by one run at a time, and by no other than its own."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import sleep

import pytest

from accel.checkpoints import FOLDER
from accel.engine.run_directory import LEASE, RunLock, was_restarted
from accel.errors import ConfigError, RunDirectoryTaken
from accel.report.record.run_files import LOCK
from accel.testing import fit_toy


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextmanager
def elsewhere(out: Path) -> Iterator[int]:
    """Another process that has taken `out`, and ends only by kill -9."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            RunLock().acquire(out)
            os.write(write_end, b"!")
            signal.pause()
        finally:
            os._exit(1)
    os.close(write_end)
    try:
        assert os.read(read_end, 1) == b"!"
        yield pid
    finally:
        os.close(read_end)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_a_directory_that_another_process_writes_to_is_left_alone(tmp_path: Path) -> None:
    run = tmp_path / "run"
    fit_toy([], epochs=1, out=run)
    assert LOCK not in content(run), "who has ended in peace leaves nothing of it"
    with elsewhere(run) as pid:
        before = content(run)
        with pytest.raises(
            RunDirectoryTaken, match=rf"process {pid} of .+ is writing there; wait until it is done, or name another directory"
        ):
            fit_toy([], epochs=2, out=run, resume=Path("auto"))
        assert before == content(run)
    assert (run / LOCK).exists(), "a killed process leaves it behind"
    assert fit_toy([], epochs=2, out=run, resume=Path("auto")).spy.run.progress.epoch == 2
    assert not (run / LOCK).exists()


def test_who_is_begun_anew_waits_for_the_lock_of_a_machine_that_was_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = RunLock()
    claim.patience = LEASE
    waited: list[float] = []
    with elsewhere(tmp_path) as pid:

        def lease_runs_out(seconds: float) -> None:
            waited.append(seconds)
            os.kill(pid, signal.SIGKILL)
            sleep(seconds)

        monkeypatch.setattr("accel.engine.run_directory.sleep", lease_runs_out)
        claim.acquire(tmp_path)
        assert waited, "it found the lock taken"
        assert not was_restarted(0)
        assert was_restarted(1)
    claim.release()


def test_a_fork_of_a_run_holds_nothing_when_the_run_is_gone(tmp_path: Path) -> None:
    claim = RunLock()
    claim.acquire(tmp_path)
    read_end, write_end = os.pipe()
    pid = os.fork()  # as a loader's worker: it outlives this claim
    if pid == 0:
        os.close(write_end)
        os.read(read_end, 1)
        os._exit(0)
    os.close(read_end)
    claim.release()
    RunLock().acquire(tmp_path)
    os.close(write_end)
    assert os.waitpid(pid, 0)[1] == 0


def test_two_runs_of_one_process_do_not_share_a_directory(tmp_path: Path) -> None:
    claim = RunLock()
    claim.acquire(tmp_path)
    with pytest.raises(RunDirectoryTaken, match="another run of this process is writing there"):
        fit_toy([], out=tmp_path)
    claim.release()
    fit_toy([], out=tmp_path)


def test_a_link_in_place_of_the_lock_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOCK).symlink_to(tmp_path / "outside")
    with pytest.raises(ConfigError, match="cannot write there"):
        fit_toy([], out=tmp_path / "run")
    assert not (tmp_path / "outside").exists()


def test_a_run_that_goes_on_elsewhere_takes_no_directory_of_another(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    fit_toy([], epochs=1, out=one)
    fit_toy([], epochs=3, out=other)
    before = content(other)
    with pytest.raises(
        RunDirectoryTaken,
        match=r"holds a run already; go on with it by resume=.*other, or name another directory, such as out=.*other-2$",
    ):
        fit_toy([], epochs=2, resume=one, out=other)
    assert before == content(other)


def test_a_directory_in_which_no_checkpoint_was_finished_is_free(tmp_path: Path) -> None:
    run = tmp_path / "run"
    fit_toy([], epochs=1, out=run)
    next((run / FOLDER).glob("*.json")).unlink()  # killed in its first save
    assert fit_toy([], epochs=1, out=run).spy.run.progress.epoch == 1
