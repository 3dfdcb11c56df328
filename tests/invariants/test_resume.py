"""A run that was stopped and resumed ends with the same bits as one that was not."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler, TensorDataset, WeightedRandomSampler

from accel import Trainer
from accel.checkpoints import FOLDER, damage, find
from accel.errors import AccelWarning, ConfigError
from accel.parts import Objective, Part, Watch
from accel.plugins.accumulate import Accumulate
from accel.plugins.adamw import AdamW
from accel.plugins.amp import AMP
from accel.plugins.average import Average
from accel.plugins.cosine import Cosine
from accel.plugins.ema import EMA
from accel.plugins.metrics import Metrics
from accel.plugins.sgd import SGD
from accel.testing import fit_toy
from accel.testing.toy_run import Spy, Stop, Toy
from tests.support.drill_length import LONG
from tests.support.own_loaders import own_loader, stopped

SETS: dict[str, Callable[[], list[Part]]] = {
    "plain": list,
    "adamw": lambda: [AdamW()],
    "all": lambda: [AMP(), AdamW(), Accumulate(steps=4), Cosine(), EMA()],
    "scaled": lambda: [AMP(dtype="float16", force=True, growth_interval=3), SGD(), EMA()],
}


@pytest.mark.parametrize("chosen", SETS)
@pytest.mark.parametrize("stop", [2, 3, 4])
def test_stopped_at_any_update_of_a_saved_run(chosen: str, stop: int, tmp_path: Path) -> None:
    plugins = SETS[chosen]
    whole = fit_toy(plugins(), epochs=2)
    fit_toy(plugins(), epochs=2, out=tmp_path / "run", checkpoint_every=1, stop=stop)
    rest = fit_toy(plugins(), epochs=2, resume=tmp_path / "run")
    assert len(whole.losses) - len(rest.losses) == stop - 1, "the update that was cut off is done again, and no other"
    assert all(torch.equal(a, b) for a, b in zip(whole.losses[stop - 1 :], rest.losses, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(whole.spy.states[-1], rest.spy.states[-1], strict=True))
    assert whole.metrics == rest.metrics
    assert vars(whole.spy.run.progress) == vars(rest.spy.run.progress)


class CutInEvaluation(Watch):
    """Ends the run in the evaluation after an update, as a crash would."""

    def __init__(self, update: int) -> None:
        super().__init__()
        self.update = update

    def begin(self, run: Any) -> None:
        self.run = run

    def evaluated(self, epoch: float, metrics: dict[str, float]) -> None:
        if self.run.progress.step == self.update:
            raise Stop


@pytest.mark.filterwarnings("ignore:.*12 updates are done already")
@pytest.mark.parametrize("epochs", [2, 1.95])
@pytest.mark.parametrize("update", [6, 12])
def test_cut_off_in_the_evaluation_at_the_end_of_an_epoch_it_goes_on_with_that_end(
    epochs: float, update: int, tmp_path: Path
) -> None:
    """The checkpoint is that of the epoch's last update. Of 1.95 epochs that is the last of the run as well."""
    settings: dict[str, Any] = {
        "epochs": epochs, "evaluate_every": 3, "checkpoint_every": 1, "checkpoint_best": "loss", "seed": 3, "batch_size": 4,
        "device": "cpu",
    }  # fmt: skip

    def fit(*cut: Part, **place: Any) -> Any:
        return Toy(plugins=[AdamW(), Average(), *cut], watch=[Metrics(curves=False)], **settings, **place).fit()

    whole = fit(out=tmp_path / "whole")
    with pytest.raises(Stop):
        fit(CutInEvaluation(update), out=tmp_path / "run")
    rest = fit(resume=tmp_path / "run")
    assert all(map(torch.equal, whole.model.parameters(), rest.model.parameters()))
    assert whole.history == rest.history
    assert (whole.best.epoch, whole.best.value) == (rest.best.epoch, rest.best.value)
    for name in ("metrics.jsonl", "best.safetensors", "model.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "run" / name).read_bytes(), name
    assert sorted(path.name for path in tmp_path.glob("whole/checkpoints/*")) == sorted(
        path.name for path in tmp_path.glob("run/checkpoints/*")
    )


POINTS = torch.arange(24.0).reshape(12, 2) / 12


class Drawing(Dataset[Tensor]):
    """Samples that come with noise from each global generator."""

    def __len__(self) -> int:
        return len(POINTS)

    def __getitem__(self, index: int) -> Tensor:
        return POINTS[index] + torch.randn(2) + random.random() + np.random.rand()


class Shuffled(IterableDataset[Tensor]):
    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(POINTS[torch.randperm(len(POINTS))])


def own(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def seed_numpy(_: int) -> None:
    np.random.seed(torch.initial_seed() % 2**32)


class HeldDrawing(Drawing):
    """Draws from generators of its own, and of its transform."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(1)
        self.transform = partial(self.add, rng=random.Random(2))
        self.legacy = np.random.RandomState(3)

    def add(self, x: Tensor, rng: random.Random) -> Tensor:
        return x + rng.random()

    def __getitem__(self, index: int) -> Tensor:
        return self.transform(POINTS[index]) + self.rng.random() + self.legacy.randn()


class OwnSampler(Sampler[int]):
    """An order from a generator of numpy's."""

    def __init__(self) -> None:
        self.rng = np.random.Generator(np.random.Philox(4))

    def __len__(self) -> int:
        return len(POINTS)

    def __iter__(self) -> Any:
        return iter(self.rng.permutation(len(POINTS)).tolist())


LOADERS: dict[str, Callable[[], Any]] = {
    "draws": Drawing,
    "stream": Shuffled,
    "shuffled": lambda: DataLoader(Drawing(), batch_size=4, shuffle=True),
    "a generator of its own": lambda: DataLoader(TensorDataset(POINTS), batch_size=4, shuffle=True, generator=own(1)),
    "workers": lambda: DataLoader(Drawing(), batch_size=4, shuffle=True, num_workers=1),
    "persistent workers": lambda: DataLoader(
        Drawing(), batch_size=4, shuffle=True, num_workers=2, persistent_workers=True, generator=own(2), worker_init_fn=seed_numpy
    ),
    "generators that it holds": lambda: DataLoader(HeldDrawing(), batch_size=4, sampler=OwnSampler()),
    "a weighted sampler": lambda: DataLoader(
        HeldDrawing(), batch_size=4, sampler=WeightedRandomSampler(torch.arange(12.0), 12, generator=own(3))
    ),
}


SOME = ("draws", "shuffled", "persistent workers", "generators that it holds")
"""Those that the suite tries; `make drill` tries all."""


@pytest.mark.parametrize("loader", LOADERS if LONG else SOME)
@pytest.mark.slow
def test_the_users_own_loader_goes_on_where_it_was(loader: str, tmp_path: Path) -> None:
    """Stopped inside the first and the second epoch of three, each of three updates."""

    def train(name: str, stop: int = 0, resume: Path | None = None) -> Any:
        random.seed(name)  # whatever was drawn before
        np.random.seed(len(name))
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))
        with own_loader(LOADERS[loader]) as data, own_loader(LOADERS[loader]) as val:
            return Trainer(
                model, data, val, lambda model, x: model(x[0] if isinstance(x, list) else x).square().mean(),
                plugins=[Spy(stop=stop)], watch=[Metrics(curves=False)], epochs=3, seed=1,
                batch_size=4 if loader in ("draws", "stream") else None, out=tmp_path / name, resume=resume, checkpoint_every=1,
            ).fit()  # fmt: skip

    whole = train("whole")
    for stop in (2, 5):
        name = f"stopped {stop}"
        with pytest.raises(Stop):
            train(name, stop=stop)
        rest = train(name, resume=tmp_path / name)
        assert all(map(torch.equal, whole.model.state_dict().values(), rest.model.state_dict().values())), stop
        assert (tmp_path / "whole/metrics.jsonl").read_bytes() == (tmp_path / name / "metrics.jsonl").read_bytes(), stop


def test_a_damaged_checkpoint_is_never_loaded(tmp_path: Path) -> None:
    run = stopped(tmp_path)
    old, new = sorted((run / FOLDER).glob("*.pt"))
    data = bytearray(new.read_bytes())
    data[len(data) // 2] ^= 1
    new.write_bytes(data)
    assert damage(new) == "is damaged (its sha256 differs)"
    actual = find(str(run), None)
    assert actual is not None
    assert actual.file == old, "the newest whole one is taken"
    assert actual.skipped == {new.stem: "is damaged (its sha256 differs)"}
    with pytest.raises(ConfigError, match="is damaged"):
        find(str(new), None)
    old.with_suffix(".json").unlink()
    new.with_suffix(".json").write_text("[]")
    assert damage(new) == "has a damaged .json"
    with pytest.raises(ConfigError, match=r"none of 2 checkpoints in .* is whole"):
        find(str(run), None)


def test_a_damaged_checkpoint_is_written_anew_when_the_run_comes_by(tmp_path: Path) -> None:
    run = stopped(tmp_path)
    new = max((run / FOLDER).glob("*.pt"))
    new.write_bytes(b"")
    with pytest.warns(AccelWarning, match=rf"skipped {new.stem}: it is damaged \(.* has 0 bytes, and .*\); going on from"):
        fit_toy([AdamW()], epochs=3, resume=run, stop=13)
    assert damage(new) is None


@dataclass(eq=False)
class Teacher(Objective):
    """Settings that JSON cannot hold, and one that it gives back as a list."""

    teacher: Any = field(default_factory=lambda: nn.Linear(2, 2))
    folder: Any = Path("here")
    pair: Any = (1, 2)


def test_settings_of_any_kind_go_on(tmp_path: Path) -> None:
    fit_toy([Teacher()], epochs=3, out=tmp_path / "run", stop=13)
    fit_toy([Teacher()], epochs=3, resume=tmp_path / "run")
    assert json.loads((tmp_path / "run/plan.json").read_text())["rows"][1]["settings"] == {
        "teacher": "Linear", "folder": "here", "pair": [1, 2]
    }  # fmt: skip
    with pytest.raises(ConfigError, match=r"plugins.teacher.pair was \[1, 2\] and is now \[1, 3\]"):
        fit_toy([Teacher(pair=(1, 3))], epochs=3, resume=tmp_path / "run")
