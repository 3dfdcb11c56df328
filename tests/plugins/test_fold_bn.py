"""Norms folded for evaluation and in what is shipped; the training is the same to the bit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from accel import load
from accel.checkpoints import FOLDER
from accel.checkpoints.weights.find_weights import find_weights
from accel.engine.loading.evaluate_saved import evaluate_saved
from accel.errors import AccelWarning, ConfigError
from accel.parts import Part
from accel.plugins.accumulate import Accumulate
from accel.plugins.adamw import AdamW
from accel.plugins.amp import AMP
from accel.plugins.channels_last import ChannelsLast
from accel.plugins.compile import Compile
from accel.plugins.ema import EMA
from accel.plugins.fold_bn import FoldBN
from accel.plugins.reparam import Reparam
from accel.testing import fit_toy
from accel.testing.toy_run import Toy
from tests.support.picture_toy import PictureToy

PICTURES = torch.randn(6, 3, 6, 6, generator=torch.Generator().manual_seed(9))
TOGETHER: dict[str, Callable[[], list[Part]]] = {
    "alone": list,
    "ema, accumulate": lambda: [EMA(decay=0.8), Accumulate(steps=2)],
    "reparam": lambda: [Reparam()],
    "amp, channels_last": lambda: [AMP(force=True), ChannelsLast()],
    "compile": lambda: [Compile(backend="eager")],
}


def norms(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]


class Watched(PictureToy):
    """Remembers which norms the model has in its evaluations."""

    seen: list[list[str]]

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        if not model.training:
            self.seen.append(norms(model))
        return super().loss(model, batch)


@pytest.mark.parametrize("name", TOGETHER)
@pytest.mark.slow
def test_training_is_the_same_and_what_is_shipped_has_no_norm(name: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    Watched.seen = []
    folded = fit_toy([FoldBN(), AdamW(lr=0.01), *TOGETHER[name]()], kind=Watched, out=out)
    plain = fit_toy([AdamW(lr=0.01), *TOGETHER[name]()], kind=PictureToy)
    assert all(map(torch.equal, [*folded.weights, *folded.losses], [*plain.weights, *plain.losses]))
    assert folded.metrics["loss"] == pytest.approx(plain.metrics["loss"], rel=1e-2 if "amp" in name else 1e-5)
    convolutional = {"0.main.norm", "3.main.norm"} if name == "reparam" else set()
    for seen in Watched.seen:
        left = {place for place in seen if ".pointwise." not in place and ".identity." not in place} - convolutional
        assert [place.removeprefix("_orig_mod.") for place in left] == ["9.norm"], "in evaluation there is one, for other ranks"
    assert Watched.seen
    shipped, trained = load(out / "shipped.safetensors", model=PictureToy().model()), load(out, model=PictureToy().model())
    assert norms(shipped) == []
    assert len(norms(trained)) >= 1
    with torch.no_grad():
        assert float((shipped(PICTURES) - trained(PICTURES)).abs().max()) <= 1e-5


@pytest.mark.parametrize("which", ["run", "run/shipped.safetensors"])
def test_a_saved_run_is_evaluated_as_it_was(which: str, tmp_path: Path) -> None:
    run = fit_toy([FoldBN(), AdamW(lr=0.01)], kind=PictureToy, out=tmp_path / "run")
    task = PictureToy(plugins=[FoldBN(), AdamW(lr=0.01)], watch=(), batch_size=4, seed=3, device="cpu")
    assert evaluate_saved(task._request(), find_weights(tmp_path / which), None).metrics == run.metrics, "to the bit"


def test_a_resumed_run_has_the_same_bits_from_every_update(tmp_path: Path) -> None:
    def plugins() -> list[Part]:
        return [FoldBN(), AdamW(lr=0.01), EMA(decay=0.8)]

    out = tmp_path / "whole"
    whole = fit_toy(plugins(), kind=PictureToy, out=out, checkpoint_every=3, checkpoint_keep=20)
    for file in sorted((out / FOLDER).glob("*.pt")):
        resumed = fit_toy(plugins(), kind=PictureToy, out=tmp_path / file.stem, resume=file)
        assert all(map(torch.equal, whole.weights, resumed.weights)), file.stem
        assert whole.metrics == resumed.metrics, file.stem
        shipped = (tmp_path / file.stem / "shipped.safetensors").read_bytes()
        assert shipped == (out / "shipped.safetensors").read_bytes(), file.stem


class Sequences(Toy):
    """A Linear on (N, L, C) with as many places as channels, whose norm sees the places."""

    def model(self) -> nn.Module:
        head = [nn.Flatten(), nn.Linear(9, 3)]
        return nn.Sequential(nn.Unflatten(1, (3, 2)), nn.Linear(2, 3), nn.BatchNorm1d(3), nn.ReLU(), *head)


def test_a_norm_of_places_is_left_where_it_is(tmp_path: Path) -> None:
    folded = fit_toy([FoldBN(), AdamW(lr=0.01)], kind=Sequences, out=tmp_path)
    plain = fit_toy([AdamW(lr=0.01)], kind=Sequences)
    assert folded.metrics == plain.metrics
    assert not (tmp_path / "shipped.safetensors").exists(), "nothing is shipped in another shape"


def test_a_run_goes_on_from_what_was_shipped(tmp_path: Path) -> None:
    fit_toy([FoldBN(), AdamW(lr=0.01)], kind=PictureToy, out=tmp_path / "first")
    init = str(tmp_path / "first" / "shipped.safetensors")
    for plugins in ([], [FoldBN()]):
        fit_toy([*plugins, AdamW(lr=0.01)], kind=PictureToy, init=init, out=tmp_path / f"then{len(plugins)}")
        assert norms(load(tmp_path / f"then{len(plugins)}", model=PictureToy().model())) == []


def test_the_structure_names_the_pairs_and_another_model_is_refused(tmp_path: Path) -> None:
    fit_toy([FoldBN(), AdamW(lr=0.01)], kind=PictureToy, out=tmp_path)
    manifest = json.loads(next(iter(sorted((tmp_path / FOLDER).glob("*.json")))).read_text())
    assert manifest["structure"][0]["part"] == "folding"
    with pytest.raises(ConfigError, match=r"its norm 1 was folded into 0, and this model has no such layers"):
        load(tmp_path / "shipped.safetensors", model=nn.Sequential(nn.ReLU(), nn.ReLU()))


def test_a_model_without_norms_is_told() -> None:
    with pytest.warns(AccelWarning, match="fold_bn has no effect: the model has no BatchNorm"):
        fit_toy([FoldBN()], epochs=1)
