"""When a run is over and nobody holds its result, its memory is free at once, not when Python's cycle collector comes."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from accel.engine.request import TaskMethod
from accel.errors import ConfigError, TrainingError
from accel.plugins.metrics import Metrics
from accel.schema import plugin_registry
from accel.testing.toy_run import Toy, cheap
from tests.support.toy_gan import Gan


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def model_of(name: str, out: Path) -> weakref.ref[nn.Module]:
    """The model of a run with a plugin, of which nothing else is kept; of one that was refused too."""
    model: list[weakref.ref[nn.Module]] = []

    class Kept(Toy):
        def model(self) -> nn.Module:
            net = super().model()
            model.append(weakref.ref(net))
            return net

    try:
        watch = ["progress", Metrics(curves=False)]  # the plugin metrics takes its place, and draws them
        Kept(plugins=[cheap(name)()], watch=watch, device="cpu", out=out, checkpoint_every=2).fit()
    except (ConfigError, TrainingError) as error:  # its frames hold the run for as long as it lives
        error.__traceback__ = None
    return model[0] if model else weakref.ref(nn.Linear(1, 1))


@pytest.mark.filterwarnings("ignore::accel.errors.AccelWarning")
@pytest.mark.parametrize("name", plugin_registry.names())
def test_the_model_of_a_run_goes_with_its_result(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # a package that is imported for the first time may keep the frames of an error of its own in a circle
    assert model_of(name, tmp_path / "first")() is None or model_of(name, tmp_path / "second")() is None


@pytest.mark.filterwarnings("ignore::accel.errors.AccelWarning")
def test_the_model_of_several_objectives_goes_too(tmp_path: Path) -> None:
    def fit(out: Path) -> weakref.ref[nn.Module]:
        task = Gan(plugins=[cheap(name)() for name in ("finite_guard", "norms", "ema", "clip")], device="cpu", out=out, watch=())
        return weakref.ref(task.fit().model)

    assert fit(tmp_path / "first")() is None or fit(tmp_path / "second")() is None


def test_the_loss_of_a_task_that_is_gone_is_refused() -> None:
    class Task:
        def loss(self, factor: int) -> int:
            return 2 * factor

    task = Task()
    loss: Any = TaskMethod(task.loss)  # type: ignore[arg-type]
    assert loss(3) == 6
    assert loss.__reduce__() == (getattr, (task, "loss"))
    del task
    with pytest.raises(ReferenceError, match="the task of this run is gone"):
        loss(3)
