"""A disk that takes no more: said once, nothing half written, the checkpoint before it kept, training goes on."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from accel.checkpoints import FOLDER, find
from accel.checkpoints.weights.find_weights import WEIGHTS
from accel.engine.finish import SUMMARY
from accel.errors import AccelWarning, ConfigError
from accel.parts import Part
from accel.plugins.adamw import AdamW
from accel.plugins.metrics import FILE, Metrics
from accel.plugins.tensorboard import TensorBoard
from accel.system import append_log, atomic_files, disk_errors
from accel.testing import fit_toy
from accel.testing.toy_run import Toy
from tests.checkpoints.test_saver import At
from tests.support.drill_length import times

LARGE = "a file may not grow that large"


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes, as on a full disk. Python ignores the signal, so that writing fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def in_a_child(work: Callable[[], None]) -> None:
    """Runs `work` in a process of its own: its limits are no one else's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0, "the child failed; its error stands above"


def limit(low: int, first: int, last: int) -> At:
    """No file may grow beyond `low` bytes from update `first` on, up to `last`."""
    free = resource.getrlimit(resource.RLIMIT_FSIZE)

    def act(watch: At, step: int) -> None:
        if step in (first, last):
            watch.run.saver.wait()
            resource.setrlimit(resource.RLIMIT_FSIZE, (low, free[1]) if step == first else free)

    return At(act=act)


def plugins() -> list[Part | str]:
    return [AdamW(), Metrics(every=1, curves=False), TensorBoard(every=1)]


def half_written(run: Path) -> list[str]:
    return [path.name for path in run.rglob("*") if path.name.endswith(".tmp")]


@pytest.mark.parametrize("size", [0, 100, 1000, 3000])
def test_it_goes_on_and_tries_again_and_ends_as_if_nothing_had_been(size: int, tmp_path: Path) -> None:
    """With room for nothing, for no record, for no state; from update 4 to 9 of 12."""
    whole, part = tmp_path / "whole", tmp_path / "part"
    wanted = fit_toy(plugins(), out=whole, checkpoint_every=1)

    def work() -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            done = fit_toy([*plugins(), limit(size, 4, 9)], out=part, checkpoint_every=1)
        sentences = [str(one.message) for one in caught]
        saving = [text for text in sentences if text.startswith("the checkpoint ")]
        assert len(saving) == 1, sentences
        assert saving[0].startswith(
            "the checkpoint update-00000004-epoch-0000 could not be saved: a file may not grow that large; "
            "update-00000003-epoch-0000 is kept, training goes on, and the next is tried when it is due; make room on the disk of "
        )
        assert len([text for text in sentences if f"{FILE} could not be written" in text]) == (size < 1000), sentences
        assert all(map(torch.equal, done.weights, wanted.weights))
        assert half_written(part) == []
        assert (part / FILE).read_bytes() == (whole / FILE).read_bytes()

    in_a_child(work)
    assert sorted(path.name for path in (part / FOLDER).iterdir()) == sorted(path.name for path in (whole / FOLDER).iterdir())


@pytest.mark.slow
def test_while_it_is_full_the_last_checkpoint_is_whole(tmp_path: Path) -> None:
    def work() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AccelWarning)
            fit_toy([*plugins(), limit(100, 4, 99)], out=tmp_path / "run", checkpoint_every=1, stop=8)

    in_a_child(work)
    actual = find("auto", tmp_path / "run")
    assert actual is not None
    assert actual.manifest.progress["step"] == 3
    assert sorted(path.suffix for path in (tmp_path / "run" / FOLDER).iterdir()) == [".json", ".json", ".pt", ".pt"]
    whole = fit_toy(plugins(), out=tmp_path / "whole", checkpoint_every=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rest = fit_toy(plugins(), resume=tmp_path / "run", checkpoint_every=1)
    assert all(map(torch.equal, rest.weights, whole.weights))
    assert (tmp_path / "run" / FILE).read_bytes() == (tmp_path / "whole" / FILE).read_bytes()


def test_lines_that_wait_when_a_checkpoint_is_made_come_back_with_it(tmp_path: Path) -> None:
    """The disk has room for a checkpoint and not for metrics.jsonl."""

    class Refusing:
        """A file on a disk that is full."""

        def __init__(self, file: Any) -> None:
            self.file = file

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

        def write(self, data: Any) -> int:
            raise OSError(28, "No space left on device")

    def fill(watch: At, step: int) -> None:
        if step == 3:
            metrics = next(one for one in watch.run.watches if isinstance(one, Metrics))
            metrics.log.file = Refusing(metrics.log.file)

    whole, run = tmp_path / "whole", tmp_path / "run"
    fit_toy([Metrics(every=1, curves=False)], out=whole, checkpoint_every=1)
    with pytest.warns(AccelWarning, match=rf"{FILE} could not be written: the disk is full; training goes on, and what is missing"):
        fit_toy([Metrics(every=1, curves=False), At(act=fill)], out=run, checkpoint_every=1, stop=6)
    assert (run / FILE).read_bytes().count(b"\n") == 2
    fit_toy([Metrics(every=1, curves=False)], resume=run, checkpoint_every=1)
    assert (run / FILE).read_bytes() == (whole / FILE).read_bytes()


@pytest.mark.parametrize("size", [0, 400, 4000])
@pytest.mark.slow
def test_at_the_end_it_says_what_could_not_be_saved(size: int, tmp_path: Path) -> None:
    def work() -> None:
        trainer = Toy(plugins=[AdamW(), limit(size, 12, 99)], watch=("metrics",), epochs=2, batch_size=4, out=tmp_path / "run")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AccelWarning)
            result = trainer.fit()
        assert "update-00000012-epoch-0002" in result.unsaved
        assert set(result.unsaved.values()) == {"a file may not grow that large"}
        assert (WEIGHTS in result.unsaved) == (size < 1500)
        assert (SUMMARY in result.unsaved) == (size < 1000)
        assert not any((tmp_path / "run" / name).exists() for name in (WEIGHTS, SUMMARY) if name in result.unsaved)
        assert half_written(tmp_path / "run") == []
        assert result.updates == 12

    in_a_child(work)
    actual = find("auto", tmp_path / "run")
    assert actual is not None
    assert actual.manifest.progress["step"] == 6


def test_a_run_on_a_disk_that_is_full_from_the_start_is_refused(tmp_path: Path) -> None:
    def work() -> None:
        with at_most(0), pytest.raises(ConfigError, match=r"cannot write there \(a file may not grow that large\)"):
            fit_toy([AdamW()], out=tmp_path / "run")
        assert not (tmp_path / "run").exists()

    in_a_child(work)


@pytest.mark.parametrize("size", range(0, 40_000, 40_000 // times(6, 200)))
def test_writing_fails_at_any_byte_and_leaves_nothing(size: int, tmp_path: Path) -> None:
    def work() -> None:
        path = tmp_path / "state.pt"
        path.write_bytes(b"as it was")
        with at_most(size), pytest.raises(OSError) as raised, atomic_files.replacing(path) as stream:
            torch.save({"weights": [torch.ones(100) for _ in range(100)]}, stream)
        assert disk_errors.disk_reason(raised.value) == "a file may not grow that large"
        assert path.read_bytes() == b"as it was"
        assert os.listdir(tmp_path) == ["state.pt"]

    in_a_child(work)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_real_disk_of_two_megabytes(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", small], capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        ballast = small / "ballast"

        def act(watch: At, step: int) -> None:
            watch.run.saver.wait()
            if step == 4:
                with ballast.open("wb", buffering=0) as file, suppress(OSError):
                    while file.write(bytes(4096)):
                        pass
            if step == 9:
                ballast.unlink()

        with pytest.warns(AccelWarning) as caught:
            part = fit_toy([*plugins(), At(act=act)], out=small / "run", checkpoint_every=1)
        saving = [str(one.message) for one in caught if str(one.message).startswith("the checkpoint ")]
        assert len(saving) == 1
        assert "could not be saved: the disk is full; update-00000003-epoch-0000 is kept, training goes on" in saving[0]
        whole = fit_toy(plugins(), out=tmp_path / "whole", checkpoint_every=1)
        assert all(map(torch.equal, part.weights, whole.weights))
        assert (small / "run" / FILE).read_bytes() == (tmp_path / "whole" / FILE).read_bytes()
        assert half_written(small) == []
    finally:
        subprocess.run(["umount", small], check=True)


def test_what_waits_for_a_full_disk_is_bounded_and_what_is_lost_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accel.system.append_log.MAX_PENDING", 40)

    def work() -> None:
        log = append_log.AppendLog(tmp_path / "log")
        lines = [f"line {number}\n".encode() for number in range(10, 40)]
        with at_most(20), warnings.catch_warnings(record=True) as sentence:
            warnings.simplefilter("always")
            for line in lines[:20]:
                log.write(line[:3])  # a block may come in pieces
                log.write(line[3:])
                log.flush()
                assert len(log.pending) <= 40, "a block more is all that it ever holds"
        assert [str(one.message).partition("/log")[2] for one in sentence] == [
            f" could not be written: {LARGE}; training goes on, and what is missing is written when there is room",
            f": {LARGE}, and 3.81e-05 MiB wait in memory for room; no more is kept, and what comes from now on is lost until then",
        ]
        for line in lines[20:]:
            log.write(line)
            log.flush()
        # two were in the file, and five waited
        assert (tmp_path / "log").read_bytes() == b"".join([*lines[:7], *lines[20:]])
        assert (log.lost_bytes, log.incomplete_reason) == (13 * 8, "104 bytes were lost while the disk was full")
        log.close()

    in_a_child(work)
