from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from accel import Trainer
from accel.cli.train_command import main
from accel.data.datasets.image_folder import AugmentedFolder, Folder
from accel.errors import AccelWarning
from accel.plugins.accumulate import Accumulate
from accel.plugins.threads import Threads
from accel.testing import fit_toy
from tests.support.sample_datasets import Global, Wide, unfinished_readers


class Slow(TensorDataset):
    """Not indexed at once."""


def test_evaluation_is_read_by_the_same_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accel.testing.toy_run.TensorDataset", Slow)
    started: list[str] = []
    start = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", lambda self: started.append(self.name) or start(self))
    assert fit_toy([], epochs=3).equals(fit_toy([Threads(count=3)], epochs=3))
    assert started.count("accel-reader") == 3
    assert unfinished_readers() == [], "none is left after the run"


def test_none_is_left_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accel.testing.toy_run.TensorDataset", Slow)
    fit_toy([Threads(count=3)], stop=2)
    assert unfinished_readers() == []


@pytest.mark.filterwarnings("ignore:the run ended with weights that are not finite")
def test_the_ring_grows_to_what_a_window_holds_and_no_further() -> None:
    threads = Threads(count=2, depth=2)
    made = []

    def loss(model: torch.nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        (ring,) = threads.rings.values()
        assert ring.pool is not None
        made.append(ring.pool.allocated)
        return model(batch[0].float().flatten(1)).square().mean()

    model = torch.nn.Linear(3 * 64 * 64, 1)
    Trainer(model, Wide(), loss=loss, plugins=[threads, Accumulate(steps=3)], watch=(), batch_size=8, epochs=2).fit()
    assert made[-1] == made[30] == 3 + 3 + 2, "those being read, a window in use, and the next before its last batch"


def test_what_it_computes_and_where_it_has_no_effect() -> None:
    with pytest.warns(AccelWarning, match="threads has no effect: the data is in memory"):
        fit_toy([Threads()])
    with pytest.warns(AccelWarning, match="threads has no effect: the data draws from the global random numbers"):
        Trainer(
            torch.nn.Linear(3, 1), Global(), loss=lambda m, b: m(b[0]).mean(), plugins=[Threads()], watch=(), batch_size=4
        ).fit()


@pytest.mark.filterwarnings("ignore:threads has no effect")
def test_an_epoch_of_one_batch_is_the_same() -> None:
    def trained(plugins: list[Threads]) -> torch.Tensor:
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(3, 1), torch.nn.Dropout(0.5))
        Trainer(model, Global(), loss=lambda m, b: m(b[0]).mean(), plugins=plugins, watch=(), batch_size=23, epochs=3).fit()
        return model[0].weight.detach()

    assert torch.equal(trained([]), trained([Threads(count=4)]))


def test_pictures_are_written_straight_into_the_batch(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="the pictures need the extra images")
    rng = np.random.default_rng(0)
    for kind in ("cat", "dog"):
        (tmp_path / kind).mkdir()
        for name in range(3):
            image.fromarray(rng.integers(0, 255, (12, 9, 3), dtype=np.uint8)).save(tmp_path / kind / f"{name}.png")
    for data in (Folder(tmp_path, ["cat", "dog"], 8), AugmentedFolder(tmp_path, ["cat", "dog"], 8, "resized", True)):
        for index in range(6):
            rng_of = [np.random.default_rng(index) for _ in range(2)]
            pixels, label = data.sample(index, rng_of[0]) if isinstance(data, AugmentedFolder) else data[index]
            out = np.zeros(data.shape, data.dtype)
            assert data.fill(index, rng_of[1], out) == label
            assert np.array_equal(out, pixels.numpy())


def test_a_mistyped_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["+plugins=[threads]", "plugins.threads.depth=0"]) == 2
    assert "threads.depth must be a whole number from 1, not 0" in capsys.readouterr().err
