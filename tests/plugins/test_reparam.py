"""Branches while it trains, one convolution for use: in a run, after it, and in every run that goes on from it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from accel import Minimize, Trainer, load
from accel.checkpoints import FOLDER
from accel.compress import BranchedConv
from accel.errors import AccelWarning, ConfigError
from accel.parts import Part
from accel.plugins.accumulate import Accumulate
from accel.plugins.adamw import AdamW
from accel.plugins.amp import AMP
from accel.plugins.average import Average
from accel.plugins.channels_last import ChannelsLast
from accel.plugins.compile import Compile
from accel.plugins.ema import EMA
from accel.plugins.master_weights import MasterWeights
from accel.plugins.recompute import Recompute
from accel.plugins.reparam import Reparam
from accel.plugins.sgd import SGD
from accel.tasks.models.resnet import small
from accel.testing.toy_run import Spy
from tests.support import compressed_runs
from tests.support.compressed_runs import PICTURES, PictureTask, equal, weights
from tests.support.drill_length import LONG, times


class Net(nn.Module):
    """Three convolutions with norms, one of them residual, and one without."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, padding=1, groups=2), nn.BatchNorm2d(8)
        self.point, self.bn3 = nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)
        self.last, self.head = nn.Conv2d(8, 4, 3, stride=2), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores, (N, 3)."""
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(x + self.bn2(self.conv2(x)))
        x = torch.relu(self.bn3(self.point(x)))
        return self.head(self.last(x).mean((2, 3)))  # type: ignore[no-any-return]


class Pictures(PictureTask):
    """Small pictures, (N, 3, 8, 8) float32, of three kinds."""

    def __init__(self, kind: str = "net", **run: Any) -> None:
        super().__init__(**run)
        self.kind = kind

    def model(self) -> nn.Module:
        return Net() if self.kind == "net" else small(num_classes=3, side=8)


fit = partial(compressed_runs.fit, kind=Pictures)
TOGETHER: dict[str, Callable[[], list[Part]]] = {
    "alone": lambda: [SGD(lr=0.1, momentum=0.9)],
    "ema, accumulate": lambda: [AdamW(lr=0.01), EMA(decay=0.8), Accumulate(steps=2)],
    "amp, channels_last": lambda: [AdamW(lr=0.01), AMP(force=True), ChannelsLast()],
    "average": lambda: [AdamW(lr=0.01), Average(last=2, every=2, batch_norm=2)],
    "compile": lambda: [AdamW(lr=0.01), Compile(backend="eager")],
    "recompute": lambda: [AdamW(lr=0.01), Recompute()],
    "master_weights": lambda: [AdamW(lr=0.01), MasterWeights(force=True)],
}


@pytest.mark.parametrize(("name", "kind"), [*product(TOGETHER, ["repvgg"]), ("ema, accumulate", "acnet")])
@pytest.mark.slow
def test_what_is_shipped_computes_what_was_trained(name: str, kind: Any, tmp_path: Path) -> None:
    result = fit(Reparam(kind=kind), *TOGETHER[name](), out=tmp_path)
    trained, shipped = load(tmp_path), load(tmp_path / "shipped.safetensors")
    names = [name for name, module in trained.named_modules() if isinstance(module, BranchedConv)]
    assert names == ["conv1", "conv2"]
    assert "shipped.safetensors" in result.files
    assert equal(list(trained.state_dict().values()), weights(result))
    merged, plain = dict(shipped.named_modules()), dict(Net().named_modules())
    assert {name: type(module) for name, module in merged.items()} == {
        name: nn.Identity if name in ("bn1", "bn2") else type(module) for name, module in plain.items()
    }
    with torch.no_grad():
        expected = trained(PICTURES)
        assert float((shipped(PICTURES) - expected).abs().max()) <= 1e-5 * max(1.0, float(expected.abs().max()))


def test_an_evaluation_sees_the_merged_model_and_leaves_the_training_to_the_bit(tmp_path: Path) -> None:
    def plugins() -> list[Part]:
        return [Reparam(), AdamW(lr=0.01), EMA(decay=0.8)]

    often, rare = fit(*plugins(), evaluate_every=1, out=tmp_path), fit(*plugins(), evaluate_epochs=2)
    assert equal(weights(often), weights(rare))
    shipped = load(tmp_path / "shipped.safetensors")
    held_out = Pictures().data("val")
    with torch.no_grad():
        loss = nn.functional.cross_entropy(shipped(held_out.tensors[0]), held_out.tensors[1])
    assert abs(float(loss) - often.metrics["loss"]) <= 1e-5


@pytest.mark.parametrize("name", TOGETHER if LONG else ["ema, accumulate", "average"])
@pytest.mark.slow
def test_a_resumed_run_has_the_same_bits_from_every_update(name: str, tmp_path: Path) -> None:
    whole = fit(Reparam(), *TOGETHER[name](), out=tmp_path / "whole", checkpoint_every=1, checkpoint_keep=20)
    for file in sorted((tmp_path / "whole" / FOLDER).glob("*.pt"))[: -1 : times(2, 1)]:
        manifest = json.loads(file.with_suffix(".json").read_text())
        assert [entry["plugin"] for entry in manifest["structure"]] == ["reparam"]
        resumed = fit(Reparam(), *TOGETHER[name](), out=tmp_path / file.stem, resume=file)
        assert equal(weights(whole), weights(resumed)), file.stem
        assert whole.metrics == resumed.metrics, file.stem


def test_the_best_weights_and_a_checkpoint_are_loaded_with_their_branches(tmp_path: Path) -> None:
    fit(Reparam(), AdamW(lr=0.01), out=tmp_path, checkpoint_best="loss")
    for which in ("best", "last"):
        assert isinstance(load(tmp_path, weights=which).conv1, BranchedConv)
    with safe_open(tmp_path / "best.safetensors", "pt") as file:
        assert json.loads(file.metadata()["accel_structure"])[0]["part"] == "branches"
    checkpoint = next((tmp_path / FOLDER).glob("*.pt"))
    assert isinstance(load(checkpoint).conv1, BranchedConv)


def test_a_trained_model_goes_on_from_where_it_is(tmp_path: Path) -> None:
    """Weights of a plain run are loaded into the plain model; with start=same the first loss is that of the plain model."""
    fit(AdamW(lr=0.01), out=tmp_path / "plain")
    losses = {}
    for name, plugins in {"plain": [], "same": [Reparam(start="same")], "paper": [Reparam()]}.items():
        spy = Spy()
        fit(*plugins, SGD(lr=1e-30), watch=[spy], init=str(tmp_path / "plain"), epochs=1)
        losses[name] = spy.losses[0]
    assert torch.allclose(losses["same"], losses["plain"], atol=1e-5)
    assert not torch.allclose(losses["paper"], losses["plain"], atol=1e-3)


def test_a_run_begins_with_the_branches_of_another_or_without_them(tmp_path: Path) -> None:
    trained = weights(fit(Reparam(), AdamW(lr=0.01), out=tmp_path / "branched"))
    on = fit(Reparam(), SGD(lr=1e-30), init=str(tmp_path / "branched"), updates=1)
    without = fit(SGD(lr=1e-30), init=str(tmp_path / "branched"), updates=1, out=tmp_path / "again")
    for result in (on, without):
        assert isinstance(result.model.get_submodule("conv1"), BranchedConv)
        pairs = zip(result.model.state_dict().items(), trained, strict=True)
        assert all(torch.equal(value, before) for (name, value), before in pairs if "running" not in name and "tracked" not in name)
    assert isinstance(load(tmp_path / "again").conv1, BranchedConv), "the run that has no plugin keeps the structure"
    assert (tmp_path / "again" / "shipped.safetensors").exists()
    merged = fit(SGD(lr=1e-30), init=str(tmp_path / "branched" / "shipped.safetensors"), updates=1)
    expected = load_file(tmp_path / "branched" / "shipped.safetensors")
    assert torch.equal(merged.model.get_parameter("conv1.weight"), expected["conv1.weight"])


def test_frozen_parameters_and_groups_go_by_the_names_of_the_branches(tmp_path: Path) -> None:
    spy = Spy()
    groups = [{"match": "conv2.pointwise.*", "lr_scale": 0.0}]
    result = fit(Reparam(), SGD(lr=0.1, groups=groups), watch=[spy], freeze=["conv1.*"], epochs=1)
    names = [name for name, _ in result.model.named_parameters()]
    first, last = spy.states[0], spy.states[-1]
    still = {name for name, a, b in zip(names, first, last, strict=False) if torch.equal(a, b)}
    assert {name for name in still if not name.startswith("last")} == {
        name for name in names if name.startswith(("conv1.", "conv2.pointwise."))
    }
    with pytest.raises(ConfigError, match=r"'conv1.weight' matches no parameter"):
        fit(Reparam(), freeze=["conv1.weight"])


class TwoObjectives(Pictures):
    """Two losses, over the first layer and the rest."""

    loss = Trainer.loss

    def objectives(self, model: nn.Module) -> list[Minimize]:
        rest = [param for name, param in model.named_parameters() if not name.startswith("conv1.")]
        loss = Pictures.loss
        return [
            Minimize("first", model.get_submodule("conv1"), lambda model, batch: loss(self, model, batch)),
            Minimize("rest", rest, lambda model, batch: loss(self, model, batch)),
        ]

    def metrics(self, model: nn.Module, batch: Any) -> dict[str, Tensor]:
        return {"loss": Pictures.loss(self, model, batch)}


def test_objectives_own_the_branches() -> None:
    result = fit(Reparam(), SGD(lr=0.1), kind=TwoObjectives)
    assert isinstance(result.model.get_submodule("conv1"), BranchedConv)
    assert result.updates == 10


def test_layers_are_chosen_by_name(tmp_path: Path) -> None:
    result = fit(Reparam(layers=["conv2", "last"]), AdamW(lr=0.01), out=tmp_path)
    names = [name for name, module in result.model.named_modules() if isinstance(module, BranchedConv)]
    assert names == ["conv2", "last"], "one that no norm follows, too"
    assert isinstance(result.model.get_submodule("last.main.norm"), nn.BatchNorm2d)
    shipped, trained = load(tmp_path / "shipped.safetensors"), load(tmp_path)
    with torch.no_grad():
        assert torch.allclose(shipped(PICTURES), trained(PICTURES), atol=1e-5)


REFUSED = {
    "reparam.layers: point has a kernel of one point, to which there is nothing to add": Reparam(layers=["point"]),
    "reparam.layers: 'conv9' matches no convolution; did you mean 'conv": Reparam(layers=["conv9"]),
    "reparam.kind must be repvgg or acnet, not 'other'": None,
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_cannot_be_is_refused_in_a_sentence(sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        fit(REFUSED[sentence] or Reparam(kind="other"))  # type: ignore[arg-type]


def test_the_plan_says_which_layers_have_branches() -> None:
    spy = Spy()
    fit(Reparam(), watch=[spy], epochs=1)
    assert spy.run.plan.facts["branches"] == (
        "repvgg beside 2 convolutions (1 more in 1, 2 more in 1); as they are: point, which has a kernel of one point, to which "
        "there is nothing to add, last, which has no BatchNorm after it"
    )


class Flat(Pictures):
    """A model without a convolution."""

    def model(self) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(192, 3))


def test_a_model_without_convolutions_is_told() -> None:
    with pytest.warns(AccelWarning, match="reparam has no effect: the model has no convolution"):
        fit(Reparam(), kind=Flat, epochs=1)


def test_the_users_random_numbers_are_those_of_a_run_without_it() -> None:
    plain, branched = Spy(), Spy()
    fit(watch=[plain], epochs=1)
    fit(Reparam(start="same"), watch=[branched], epochs=1)
    assert torch.allclose(plain.losses[0], branched.losses[0], atol=1e-5), "the model and the first batch are the same"


def test_other_weights_and_a_damaged_structure_are_refused(tmp_path: Path) -> None:
    fit(Reparam(), out=tmp_path, epochs=1)
    with pytest.raises(ConfigError, match="its convolution conv1 had branches, and this model has no such layer"):
        load(tmp_path, model=nn.Sequential(nn.Linear(2, 2)))
    with pytest.raises(ConfigError, match="init: its convolution conv1 had branches"):
        fit(kind=Flat, init=str(tmp_path))
