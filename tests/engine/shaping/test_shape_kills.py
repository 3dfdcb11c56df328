"""Killed inside a change of the model's shape, or while what is shipped is written, a run goes on to the same bits."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from accel.checkpoints import FOLDER, find
from accel.checkpoints.fault_points import BEST_WEIGHTS, SHAPING, SHIPPING
from accel.checkpoints.weights import BEST
from accel.parts import Part
from accel.plugins.adamw import AdamW
from accel.plugins.ema import EMA
from accel.plugins.master_weights import MasterWeights
from accel.plugins.reparam import Reparam
from accel.plugins.schedule_free import ScheduleFree
from accel.system import faults
from accel.testing import fit_toy
from accel.testing.toy_run import Toy
from tests.checkpoints.test_fault_points import forked
from tests.support.halved_layer import Halve
from tests.support.picture_toy import PictureToy

SHIPPED = "shipped.safetensors"


def branches() -> list[Part]:
    return [Reparam(), AdamW(lr=0.01), EMA(decay=0.8)]


def halves() -> list[Part]:
    return [Halve(at=5, times=2), AdamW(lr=0.01), EMA(decay=0.8)]


def train(out: Path, plugins: Callable[[], list[Part]], kind: type[Toy], resume: str | None = "auto") -> list[Tensor]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "resume=auto")
        where = None if resume is None else Path(resume)
        done = fit_toy(plugins(), epochs=2, out=out, resume=where, checkpoint_every=2, kind=kind)
    return [*done.spy.run.unwrapped_model.state_dict().values(), *done.weights]


def killed(out: Path, place: str, plugins: Callable[[], list[Part]], kind: type[Toy]) -> None:
    """Trains in a process of its own, which is killed at a place. `PLACE:N` is the time number N that it is passed."""

    def armed() -> None:
        faults.arm(place)
        train(out, plugins, kind)

    status = forked(armed)
    assert os.WIFSIGNALED(status), "it was killed, and not done"
    assert os.WTERMSIG(status) == signal.SIGKILL


def content(run: Path) -> dict[str, bytes]:
    """What the files of weights in a run directory hold."""
    return {file.name: file.read_bytes() for file in run.glob("*.safetensors")}


@pytest.fixture(scope="module")
def branched(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Tensor], dict[str, bytes]]:
    out = tmp_path_factory.mktemp("whole") / "run"
    return train(out, branches, PictureToy, None), content(out)


@pytest.fixture(scope="module")
def halved(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Tensor], dict[str, bytes]]:
    out = tmp_path_factory.mktemp("whole") / "run"
    return train(out, halves, Toy, None), content(out)


@pytest.mark.parametrize("place", SHIPPING)
def test_killed_while_what_is_shipped_is_written(
    place: str, branched: tuple[list[Tensor], dict[str, bytes]], tmp_path: Path
) -> None:
    run, (weights, files) = tmp_path / "run", branched
    killed(run, place, branches, PictureToy)
    left = run / SHIPPED
    assert not left.exists() or left.read_bytes() == files[SHIPPED], "nothing is half-written"
    assert all(map(torch.equal, train(run, branches, PictureToy), weights))
    assert content(run) == files
    assert [path.name for path in run.rglob("*.tmp")] == []


@pytest.mark.parametrize("place", [f"{place}:{count}" for place in SHAPING for count in (1, 2)])
def test_killed_inside_a_change(place: str, halved: tuple[list[Tensor], dict[str, bytes]], tmp_path: Path) -> None:
    run, (weights, files) = tmp_path / "run", halved
    killed(run, place, halves, Toy)
    checkpoint = find("auto", run)
    assert checkpoint is not None
    done = 0 if place.endswith(":1") else 1
    inner = [entry["structure"] for entry in checkpoint.manifest.structure]
    assert inner == [{"done": done}] * done, "no checkpoint is of a model that is half changed"
    assert all(map(torch.equal, train(run, halves, Toy), weights))
    assert content(run) == files


class Sized(Toy):
    """The toy with the number of its weights as a metric: the best is the largest, of the first epoch that has it."""

    def metrics(self, model: nn.Module, batch: Any) -> dict[str, float]:
        return {"size": float(sum(param.numel() for param in model.parameters()))}


PLUGINS: dict[str, Callable[[], list[Part]]] = {
    "plain": lambda: [AdamW(lr=0.01)],
    "ema": lambda: [AdamW(lr=0.01), EMA(decay=0.8)],
    "masters and ema": lambda: [MasterWeights(), AdamW(lr=0.01), EMA(decay=0.8)],
    "schedule free": lambda: [ScheduleFree(lr=0.01)],
}


@pytest.mark.parametrize("name", PLUGINS)
@pytest.mark.parametrize("at", [2, 8])
def test_the_best_weights_are_made_again_in_the_shape_that_they_had(name: str, at: int, tmp_path: Path) -> None:
    """The best is of the first epoch, before the last change; the run goes on from its end, and is not moved by it."""

    def fit(resume: bool) -> list[Tensor]:
        plugins = [Halve(at=at, times=8 // at), *PLUGINS[name]()]
        where = run if resume else None
        done = fit_toy(plugins, epochs=2, out=run, resume=where, kind=Sized, checkpoint_best="max:size")
        return done.weights

    run = tmp_path / "run"
    weights, before = fit(resume=False), load_file(run / BEST)
    assert before["0.weight"].shape[0] > weights[0].shape[0], "its shape is another one"
    facts = (run / BEST).read_bytes()
    (run / BEST).unlink()
    assert all(map(torch.equal, fit(resume=True), weights))
    assert (run / BEST).read_bytes() == facts


def test_a_kill_before_the_best_weights_and_a_change_after(tmp_path: Path) -> None:
    """The checkpoint that goes on is the best one itself, whose shape is still that of the run."""
    run = tmp_path / "run"

    def work() -> None:
        faults.arm(f"{BEST_WEIGHTS[0]}:1")
        fit_toy([Halve(at=8), AdamW(lr=0.01)], out=run, kind=Sized, checkpoint_best="max:size")

    assert os.WIFSIGNALED(forked(work))
    fit_toy([Halve(at=8), AdamW(lr=0.01)], out=run, resume=run, kind=Sized, checkpoint_best="max:size")
    assert load_file(run / BEST)["0.weight"].shape == (16, 6)
    assert len(list((run / FOLDER).glob("*.pt"))) >= 2
