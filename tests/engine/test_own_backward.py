"""A loss that calls backward() itself is refused in its first call: each gradient would count twice."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from accel import Minimize, Trainer
from accel.errors import ConfigError
from accel.parts import Part
from accel.plugins import AMP, Accumulate, AdamW, Average, LRRange, MasterWeights, StepInBackward
from accel.testing import fit_toy
from accel.testing.toy_run import Toy

X = torch.arange(32.0).view(16, 2) / 32
SENTENCE = r"loss\(model, batch\) calls backward\(\) itself, .* gradients would count twice; return the loss, and leave backward"


def own_backward(model: nn.Module, batch: Any) -> Tensor:
    loss: Tensor = model(batch[0]).square().mean()
    loss.backward(retain_graph=True)  # type: ignore[no-untyped-call]
    return loss


def freed_and_detached(model: nn.Module, batch: Any) -> Tensor:
    loss: Tensor = model(batch[0]).square().mean()
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach()


def fit(loss: Any, *plugins: Part, **settings: Any) -> Any:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    settings = {"batch_size": 4, "device": "cpu", "watch": (), **settings}
    return Trainer(model, TensorDataset(X), None, loss, plugins=plugins, **settings).fit()


@pytest.mark.filterwarnings("ignore:(master_weights|amp)")
@pytest.mark.parametrize(
    "plugins",
    [
        [], [Accumulate(2)], [AdamW(), StepInBackward()], [AMP(dtype="float16", force=True)], [MasterWeights()], [Average(every=2)],
        [LRRange(updates=12)],
    ],
    ids=lambda plugins: "+".join(plugin.name for plugin in plugins),
)  # fmt: skip
@pytest.mark.parametrize("loss", [own_backward, freed_and_detached])
def test_it_is_refused_whatever_is_on(loss: Any, plugins: list[Part]) -> None:
    with pytest.raises(ConfigError, match=SENTENCE):
        fit(loss, *plugins)
    with pytest.raises(ConfigError, match=SENTENCE):
        fit(loss, *plugins, dry_run=True)


def test_one_of_several_objectives_is_named() -> None:
    class Two(Trainer):
        def model(self) -> nn.Module:
            return nn.ModuleDict({"a": nn.Linear(2, 1), "b": nn.Linear(2, 1)})

        def data(self, split: str) -> Any:
            return TensorDataset(X) if split == "train" else None

        def objectives(self, model: Any) -> Any:
            good = lambda model, batch: model["a"](batch[0]).square().mean()  # noqa: E731
            return [Minimize("first", "a.*", good), Minimize("second", "b.*", self.bad)]

        def bad(self, model: Any, batch: Any) -> Tensor:
            return own_backward(model["b"], batch)

    with pytest.raises(ConfigError, match=r"^objectives\(model\), second: " + SENTENCE):
        Two(watch=(), device="cpu").fit()


def test_gradients_of_gradients_and_of_others_are_none_of_its_own() -> None:
    other = nn.Linear(2, 1)

    def loss(model: nn.Module, batch: Any) -> Tensor:
        points = batch[0].requires_grad_()
        output = model(points)
        (gradient,) = torch.autograd.grad(output.sum(), points, create_graph=True)
        torch.autograd.grad(output.sum(), model.parameters(), retain_graph=True)
        other(points).sum().backward(inputs=list(other.parameters()))
        out: Tensor = output.square().mean() + gradient.square().mean()
        return out

    assert fit(loss).updates == 4
    assert other.weight.grad is not None


def test_the_loss_is_called_as_it_is_after_the_first_time() -> None:
    run = fit_toy([]).spy.run
    assert run.parts.objective.loss is run.loss
    assert isinstance(run.loss.bound().__self__, Toy)
