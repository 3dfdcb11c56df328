"""Killed at every named place of saving, finishing and resuming, a run goes on from a whole checkpoint to the same bits."""

from __future__ import annotations

import os
import re
import signal
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from accel.checkpoints import FOLDER, find
from accel.checkpoints.fault_points import BEST_WEIGHTS, FINISHING, PLACES, RESUMING, SAVING, SHAPING, SHARING, SHIPPING
from accel.plugins.accumulate import Accumulate
from accel.plugins.adamw import AdamW
from accel.plugins.ema import EMA
from accel.plugins.metrics import Metrics
from accel.system import faults
from accel.testing import fit_toy
from tests.support.drill_length import times

EVERY = 2
"""Updates from one checkpoint to the next."""
THIRD = 4
"""The third checkpoint is of this update; the second, of update 3, ends the first epoch."""


def train(out: Path, resume: str | None = "auto") -> list[torch.Tensor]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "resume=auto")
        where = None if resume is None else Path(resume)
        plugins = [AdamW(), EMA(), Accumulate(steps=2), Metrics(curves=False)]
        done = fit_toy(plugins, epochs=2, out=out, resume=where, checkpoint_every=EVERY)
    return [*done.spy.run.unwrapped_model.state_dict().values(), *done.weights]


def killed(out: Path, place: str, count: int) -> int:
    """Trains in a process of its own, which is killed when it passes `place` for the time number `count`; its exit status."""

    def armed() -> None:
        faults.arm(f"{place}:{count}")
        train(out)

    return forked(armed)


def forked(work: Callable[[], object]) -> int:
    """Works in a process of its own; its exit status."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads that a fork leaves behind: there are none to be missed
        child = os.fork()
    if not child:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[torch.Tensor], bytes]:
    out = tmp_path_factory.mktemp("whole") / "run"
    return train(out, None), (out / "metrics.jsonl").read_bytes()


def test_the_places_are_those_in_the_source() -> None:
    root, actual = Path(faults.__file__).parents[1], set[str]()
    for path in [
        root / "engine/resume.py",
        root / "engine/finish.py",
        *root.glob("engine/shaping/*.py"),
        *root.glob("checkpoints/**/*.py"),
    ]:
        text = path.read_text()
        actual |= set(re.findall(r'point\("([\w.]+)"\)', text))
        files = re.findall(r'(?:replacing|write|write_weights)\(\s*.*"(saving\.\w+)"', text)
        actual |= {f"{name}.{step}" for name in files for step in ("begun", "written", "synced", "moved", "settled")}
    assert actual == {*PLACES, *SHAPING, *SHARING, *SHIPPING, *BEST_WEIGHTS}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.slow
def test_killed_there_it_goes_on_to_the_same_bits(place: str, whole: tuple[list[torch.Tensor], bytes], tmp_path: Path) -> None:
    for time in range(times(1, 50)):
        run = tmp_path / f"run-{time}"
        if place in RESUMING:
            assert os.WTERMSIG(killed(run, "saving.begun", 3)) == signal.SIGKILL
        # the first checkpoint has none before it, and only the third takes one away
        count = 1 if place in (*RESUMING, *FINISHING) or place.startswith("saving.remove") else (3, 1, 2)[time % 3]
        assert os.WTERMSIG(killed(run, place, count)) == signal.SIGKILL, "it was killed, and not done"
        if place in SAVING and count == 3:
            actual = find("auto", run)
            assert actual is not None
            assert actual.manifest.progress["step"] >= THIRD - EVERY + 1, "at most one interval is lost"
        weights, metrics = whole
        assert all(map(torch.equal, train(run), weights))
        assert (run / "metrics.jsonl").read_bytes() == metrics
        assert [path.name for path in run.rglob("*.tmp")] == []
        assert len(list((run / FOLDER).iterdir())) == 4
