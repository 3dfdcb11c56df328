"""The checks of a plugin in runs of several objectives."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from accel.engine.objectives.minimize import Minimize
from accel.parts import Probe, Update
from accel.testing.plugin_runs import PluginFactory, attempt, plugin_name
from accel.testing.toy_run import Toy, fit_toy
from accel.trainer import Trainer

__all__ = ["Alone", "Pair", "check_objectives"]


class Pair(Toy):
    """The same classifier. Its body and its head have losses of their own, and both draw the units that are dropped."""

    loss = Trainer.loss

    def toy_loss(self, model: nn.Module, batch: Any) -> Tensor:
        """Return the loss of the toy."""
        return super().loss(model, batch)

    def smoothed_loss(self, model: nn.Module, batch: Any) -> Tensor:
        """Return the cross entropy to labels that are smoothed."""
        return nn.functional.cross_entropy(model(batch[0]), batch[1], label_smoothing=0.1)

    def metrics(self, model: nn.Module, batch: Any) -> dict[str, Tensor]:
        """Return the loss of the toy."""
        return {"loss": self.toy_loss(model, batch)}

    def objectives(self, model: nn.Module) -> list[Minimize]:
        """Return both objectives."""
        return [Minimize("body", ["0.*", "1.*"], self.toy_loss), Minimize("head", "4.*", self.smoothed_loss)]


class Alone(Pair):
    """The same with the loss of the toy as the one objective."""

    def objectives(self, model: nn.Module) -> list[Minimize]:
        """Return the objective."""
        return [Minimize("all", model, self.toy_loss)]


def check_objectives(plugin: PluginFactory) -> None:
    """Check runs of two objectives, and one of a single objective, which must be the run of its loss.

    A plugin that cannot stand there says so, by its name.
    """
    name = plugin_name(plugin)
    whole = attempt([plugin()], kind=Pair)
    if isinstance(whole, str):
        assert name in whole, f"{name}: the refusal in a run of two objectives does not name it: {whole}"
        return
    assert not isinstance(plugin(), Update | Probe), f"{name} is of one loss, and a run of two objectives does not refuse it"
    alone, plain = fit_toy([plugin()], kind=Alone), fit_toy([plugin()])
    assert alone.equals(plain), f"with {name}, a run of one objective is not the run of its loss"
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        per_epoch = len(whole.losses) // 2
        fit_toy([plugin()], kind=Pair, out=out, stop=per_epoch + 1)
        resumed = fit_toy([plugin()], kind=Pair, resume=out)
    tail = zip(whole.losses[per_epoch:], resumed.losses, strict=True)
    is_equal = all(torch.equal(a, b) for a, b in [*tail, *zip(whole.weights, resumed.weights, strict=True)])
    is_equal = is_equal and whole.metrics == resumed.metrics
    assert is_equal, f"{name}: a resumed run of two objectives differs"
    reads = fit_toy([plugin()], kind=Pair, counts=True).spy.reads
    assert reads.count == 0, (
        f"{name} reads {reads.count} numbers on the host in a run of two objectives, the first at {next(iter(reads.places))}"
    )
