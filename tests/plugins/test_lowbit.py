"""Layers of few bits in a run, after it, and in every run that goes on from it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from accel import load
from accel.checkpoints import FOLDER
from accel.compress.low_bits.low_bit_layer import LowBitWeights
from accel.compress.low_bits.packed_layer import PackedLayer
from accel.errors import AccelWarning, ConfigError
from accel.parts import Part
from accel.plugins.accumulate import Accumulate
from accel.plugins.adamw import AdamW
from accel.plugins.amp import AMP
from accel.plugins.channels_last import ChannelsLast
from accel.plugins.compile import Compile
from accel.plugins.distill import Distill
from accel.plugins.ema import EMA
from accel.plugins.lowbit import LowBit
from accel.plugins.master_weights import MasterWeights
from accel.plugins.prune import Prune
from accel.plugins.recompute import Recompute
from accel.plugins.reparam import Reparam
from accel.plugins.sgd import SGD
from accel.report.result import Result
from accel.testing.toy_run import Spy
from tests.support import compressed_runs
from tests.support.compressed_runs import PICTURES, PictureTask, equal, names_of, weights
from tests.support.drill_length import LONG, times


class Mix(nn.Module):
    """A norm, and a layer that takes the signs of what it gives."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, 8) of (N, 8)."""
        return self.linear(self.norm(x))  # type: ignore[no-any-return]


class Net(nn.Module):
    """Convolutions with norms, one of them residual, two blocks of Linear, and a head. No ReLU takes the signs away."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn0 = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.conv1, self.bn1 = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, stride=2, groups=2), nn.BatchNorm2d(8)
        self.mix1, self.mix2, self.head = Mix(), Mix(), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores, (N, 3)."""
        x = self.bn0(self.stem(x))
        x = self.bn1(self.conv1(x)) + x
        x = self.bn2(self.conv2(x)).mean((2, 3))
        return self.head(self.mix2(self.mix1(x)))  # type: ignore[no-any-return]


class Pictures(PictureTask):
    def model(self) -> nn.Module:
        return Net()


fit = partial(compressed_runs.fit, kind=Pictures)
KINDS: dict[str, Callable[[], LowBit]] = {
    "twn": LowBit,
    "bwn": lambda: LowBit(kind="bwn"),
    "xnor": lambda: LowBit(kind="xnor"),
    "bnn": lambda: LowBit(kind="bnn"),
    "dorefa": lambda: LowBit(kind="dorefa", weight_bits=3, input_bits=4, gradient_bits=6),
}
TOGETHER: dict[str, Callable[[], list[Part]]] = {
    "ema, accumulate": lambda: [AdamW(lr=0.01), EMA(decay=0.8), Accumulate(steps=2)],
    "amp, channels_last": lambda: [AdamW(lr=0.01), AMP(force=True), ChannelsLast()],
    "compile": lambda: [AdamW(lr=0.01), Compile(backend="eager")],
    "recompute": lambda: [AdamW(lr=0.01), Recompute()],
    "master_weights": lambda: [AdamW(lr=0.01), MasterWeights(force=True)],
    "distill": lambda: [SGD(lr=0.1), Distill(teacher())],
}
CASES = [
    *((kind, "ema, accumulate") for kind in KINDS),
    *(("twn", name) for name in TOGETHER if name != "ema, accumulate"),
    ("dorefa", "compile"),
]


def teacher() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return Net()


@pytest.mark.parametrize(("kind", "name"), CASES if LONG else CASES[:7])
@pytest.mark.slow
def test_what_is_shipped_is_small_and_computes_what_was_trained(kind: str, name: str, tmp_path: Path) -> None:
    result = fit(KINDS[kind](), *TOGETHER[name](), out=tmp_path)
    assert "shipped.safetensors" in result.files
    trained, shipped = load(tmp_path), load(tmp_path / "shipped.safetensors")
    assert names_of(trained, LowBitWeights) == names_of(shipped, PackedLayer) == ["conv1", "conv2", "mix1.linear", "mix2.linear"]
    assert names_of(shipped, nn.Identity) == ["bn1", "bn2"]
    assert equal(list(trained.state_dict().values()), weights(result))
    with torch.no_grad():
        expected = trained(PICTURES)
        gaps = (shipped(PICTURES) - expected).abs().amax(1)
    close = gaps <= 1e-4 * max(1.0, float(expected.abs().max()))
    assert int(close.sum()) >= (6 if kind in ("twn", "bwn") else 4), "an input at the border of two levels may be on the other side"
    saved = load_file(tmp_path / "shipped.safetensors")
    bits = {"twn": 2, "dorefa": 3}.get(kind, 1)
    assert saved["conv1.packed"].numel() == 8 * 8 * 9 * bits // 8
    assert "conv1.weight" not in saved


@pytest.mark.parametrize(("kind", "name"), CASES if LONG else [("dorefa", "ema, accumulate"), ("bnn", "ema, accumulate")])
def test_a_resumed_run_has_the_same_bits_from_every_update(kind: str, name: str, tmp_path: Path) -> None:
    whole = fit(KINDS[kind](), *TOGETHER[name](), out=tmp_path / "whole", checkpoint_every=1, checkpoint_keep=20)
    for file in sorted((tmp_path / "whole" / FOLDER).glob("*.pt"))[: -1 : times(2, 1)]:
        manifest = json.loads(file.with_suffix(".json").read_text())
        assert [entry["plugin"] for entry in manifest["structure"]] == ["lowbit"]
        resumed = fit(KINDS[kind](), *TOGETHER[name](), out=tmp_path / file.stem, resume=file)
        assert equal(weights(whole), weights(resumed)), file.stem
        assert whole.metrics == resumed.metrics, file.stem


@pytest.mark.parametrize("kind", ["twn", "bnn", "xnor"] if LONG else ["bnn"])
def test_accumulation_is_the_big_batch(kind: str) -> None:
    class Plain(Pictures):
        def model(self) -> nn.Module:
            return nn.Sequential(nn.Flatten(), nn.Linear(192, 8), Mix(), Mix(), nn.Linear(8, 3))

    small = fit(KINDS[kind](), SGD(lr=0.1), Accumulate(steps=2), kind=Plain)
    big = fit(KINDS[kind](), SGD(lr=0.1), kind=Plain, batch_size=8)
    assert max(float((a - b).abs().max()) for a, b in zip(weights(small), weights(big), strict=True)) <= 1e-5


class Large(Pictures):
    """A model with large weights."""

    def model(self) -> nn.Module:
        model = Net()
        with torch.no_grad():
            for layer in (model.stem, model.conv1):
                layer.weight.mul_(100)
        return model


@pytest.mark.parametrize(("kind", "masters"), [("bnn", False), ("bnn", True), ("bwn", False)])
def test_weights_of_bnn_are_clipped_to_1_and_those_of_others_are_not(kind: str, masters: bool) -> None:
    spy = Spy()
    fit(KINDS[kind](), SGD(lr=1e-30), *[MasterWeights(force=True)] * masters, kind=Large, updates=1, watch=[spy])
    params = spy.run.unwrapped_model.state_dict()  # of masters, what these are
    assert (float(params["conv1.weight"].abs().max()) == 1) == (kind == "bnn")
    assert float(params["stem.weight"].abs().max()) > 1, "a layer in floats is not clipped"


def test_frozen_weights_are_not_clipped() -> None:
    result = fit(LowBit(kind="bnn"), SGD(lr=1e-30), kind=Large, updates=1, freeze=["conv1.*"])
    assert float(result.model.state_dict()["conv1.weight"].abs().max()) > 1


def test_weights_of_bnn_are_clipped_between_updates() -> None:
    spy = Spy()
    fit(LowBit(kind="bnn"), SGD(lr=300.0, momentum=0.0), watch=[spy], updates=1)
    names = [name for name, _ in spy.run.unwrapped_model.named_parameters()]
    large = dict(zip(names, spy.states[0], strict=False))["conv1.weight"]
    assert float(large.abs().max()) > 1
    assert spy.run.parts.quantisation.change(spy.run) is None
    assert torch.equal(spy.run.unwrapped_model.get_parameter("conv1.weight"), large.clamp(-1, 1))


class Deep(Pictures):
    """A Linear of few bits whose norm normalises its channels."""

    norm: Sequence[str] = ("4",)

    def model(self) -> nn.Module:
        hidden = [nn.Linear(8, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU()]
        return nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.ReLU(), *hidden, nn.Linear(8, 3))


class Signals(Deep):
    """A convolution of one dimension and its norm."""

    norm = ("3",)

    def model(self) -> nn.Module:
        hidden = [nn.Conv1d(8, 8, 3, bias=False), nn.BatchNorm1d(8), nn.AdaptiveAvgPool1d(1)]
        return nn.Sequential(nn.Flatten(2), nn.Conv1d(3, 8, 3), *hidden, nn.Flatten(), nn.Linear(8, 3))


class Places(Deep):
    """A Linear on as many places as it has channels, of which the norm normalises the places."""

    norm = ()

    def model(self) -> nn.Module:
        hidden = [nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Flatten()]
        return nn.Sequential(nn.Flatten(), nn.Linear(192, 16), nn.Unflatten(1, (4, 4)), *hidden, nn.Linear(16, 3))


@pytest.mark.parametrize("together", ["plain", "compile"] if LONG else ["plain"])
@pytest.mark.parametrize("kind", [Deep, Signals, Places])
def test_a_norm_of_one_dimension_is_folded_where_an_evaluation_has_seen_that_it_can_be(
    kind: type[Deep], together: str, tmp_path: Path
) -> None:
    def run(**settings: Any) -> Result:
        plugins = [LowBit(), AdamW(lr=0.01), *([Compile(backend="eager")] if together == "compile" else [])]
        return fit(*plugins, kind=kind, **settings)

    whole, plain = run(out=tmp_path / "run", checkpoint_every=1, checkpoint_keep=20), run(epochs=1)
    trained, shipped = load(tmp_path / "run"), load(tmp_path / "run" / "shipped.safetensors")
    assert names_of(shipped, nn.Identity) == list(kind.norm)
    assert names_of(trained, nn.Identity) == names_of(plain.model, nn.Identity) == []
    with torch.no_grad():
        assert torch.allclose(trained(PICTURES), shipped(PICTURES), atol=1e-4)
    for file in sorted((tmp_path / "run" / FOLDER).glob("*.pt"))[::4]:
        again = run(out=tmp_path / file.stem, resume=file)
        assert whole.metrics == again.metrics
        one, other = ((place / "shipped.safetensors").read_bytes() for place in (tmp_path / "run", tmp_path / file.stem))
        assert one == other, file.stem


WITHOUT_ZERO: dict[str, Callable[[], LowBit]] = {
    **{kind: KINDS[kind] for kind in ("bwn", "xnor", "bnn", "dorefa")},
    "one bit": lambda: LowBit(kind="dorefa"),
}
WITH_ZERO: dict[str, Callable[[], LowBit]] = {"twn": LowBit, "inputs": lambda: LowBit(kind="dorefa", weight_bits=32, input_bits=4)}
MASKED: dict[str, Callable[[], Prune]] = {
    "weights": lambda: Prune(mode="weights", end=2, ratio=0.5), "pattern": lambda: Prune(mode="pattern", end=2, pattern="1:2"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WITHOUT_ZERO)
@pytest.mark.parametrize("mode", MASKED)
def test_zeros_and_levels_without_one_are_refused_together(mode: str, kind: str, tmp_path: Path) -> None:
    sentence = rf"prune.mode={mode} makes zeros, and lowbit has no level 0 in conv1, conv2 and 2 more; .* prune.exclude=\[conv1,"
    with pytest.raises(ConfigError, match=sentence):
        fit(MASKED[mode](), WITHOUT_ZERO[kind](), SGD(lr=0.1), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_zeros_in_other_layers_than_those_without_one() -> None:
    elsewhere = Prune(mode="weights", end=2, exclude=["conv*", "mix*"])
    model = fit(elsewhere, LowBit(kind="bwn"), SGD(lr=0.1), epochs=1).model
    assert int((model.get_parameter("stem.weight") == 0).sum()) == 108


@pytest.mark.parametrize("kind", WITH_ZERO)
@pytest.mark.parametrize("mode", MASKED)
def test_zeros_stay_zeros_where_there_is_a_level_0(mode: str, kind: str, tmp_path: Path) -> None:
    fit(MASKED[mode](), WITH_ZERO[kind](), SGD(lr=0.1), out=tmp_path, epochs=1)
    trained = load(tmp_path)
    file = tmp_path / "shipped.safetensors"
    shipped = load(file) if kind == "twn" else trained
    for name in ("conv1", "conv2"):
        gone = trained.get_submodule(name).weight == 0
        assert int(gone.sum()) >= gone.numel() // 2  # type: ignore[union-attr, operator, arg-type]
        assert not shipped.get_submodule(name).level_weight(PICTURES)[gone].any()  # type: ignore[operator]


def test_names_of_parameters_are_those_of_the_users_model() -> None:
    spy = Spy()
    groups = [{"match": "conv2.*", "lr_scale": 0.0}]
    result = fit(LowBit(), SGD(lr=0.1, groups=groups), watch=[spy], freeze=["conv1.weight"], epochs=1)
    names = [name for name, _ in result.model.named_parameters()]
    assert names == [name for name, _ in Net().named_parameters()]
    still = {name for name, a, b in zip(names, spy.states[0], spy.states[-1], strict=False) if torch.equal(a, b)}
    assert still == {"conv1.weight", "conv2.weight", "conv2.bias"}


def test_runs_go_on_from_each_other(tmp_path: Path) -> None:
    trained = weights(fit(LowBit(), AdamW(lr=0.01), out=tmp_path / "few"))
    other = fit(LowBit(kind="bwn", keep=[]), SGD(lr=1e-30), init=str(tmp_path / "few"), updates=1)
    assert torch.equal(other.model.get_parameter("conv1.weight"), trained[list(other.model.state_dict()).index("conv1.weight")])
    assert len(names_of(other.model, LowBitWeights)) == 6
    without = fit(SGD(lr=1e-30), init=str(tmp_path / "few"), updates=1, out=tmp_path / "again")
    assert isinstance(without.model.get_submodule("conv1"), LowBitWeights), "the run that has no plugin keeps the structure"
    assert (tmp_path / "again" / "shipped.safetensors").exists()
    shipped = str(tmp_path / "few" / "shipped.safetensors")
    assert isinstance(fit(SGD(lr=0.1), init=shipped, updates=1).model.get_submodule("conv1"), PackedLayer)
    with pytest.raises(ConfigError, match="packed bits, which cannot be trained; begin with the run that made them, by init=RUN"):
        fit(LowBit(), init=shipped)


def test_branches_stay_in_floats(tmp_path: Path) -> None:
    fit(Reparam(layers=["conv1"]), LowBit(), AdamW(lr=0.01), out=tmp_path)
    trained, shipped = load(tmp_path), load(tmp_path / "shipped.safetensors")
    assert names_of(shipped, PackedLayer) == ["conv2", "mix1.linear", "mix2.linear"]
    with torch.no_grad():
        assert torch.allclose(trained(PICTURES), shipped(PICTURES), atol=1e-4)


REFUSED: dict[str, Callable[[], LowBit]] = {
    "lowbit.weight_bits must be 1 to 8 bits, or 32 for floats, not 9": lambda: LowBit(weight_bits=9),
    "lowbit.input_bits must be a whole number from 1, not 0": lambda: LowBit(input_bits=0),
    "lowbit.gradient_bits must be 1 to 8 bits, or 32 for floats, not 16": lambda: LowBit(gradient_bits=16),
    "lowbit.kind must be dorefa or twn or bwn or xnor or bnn, not 'ternary'": lambda: LowBit(kind="ternary"),  # type: ignore[arg-type]
    "lowbit.layers: 'conv9' matches no layer; did you mean 'conv": lambda: LowBit(layers=["conv9"]),
    "lowbit.keep: 'bn1' matches no layer": lambda: LowBit(keep=["bn1"]),
    "lowbit: the model has no layer to quantise: stem is the first, head is the last; keep=[]": lambda: LowBit(
        layers=["stem", "head"]
    ),
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_cannot_be_is_refused_in_a_sentence(sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        fit(REFUSED[sentence]())
    assert str(error.value).startswith(sentence)


class NoLayers(Pictures):
    """A model without a layer."""

    def model(self) -> nn.Module:
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(3), nn.Flatten())


def test_a_model_without_layers_is_refused() -> None:
    with pytest.raises(ConfigError, match="lowbit: the model has no layer to quantise: it has no convolution and no Linear"):
        fit(LowBit(), kind=NoLayers)


def test_settings_of_another_scheme_have_no_effect_and_say_so() -> None:
    with pytest.warns(AccelWarning, match="lowbit.weight_bits has no effect with kind=twn, whose paper has its own"):
        fit(LowBit(weight_bits=2), epochs=1)
    with pytest.warns(AccelWarning, match="weights, inputs and gradients are all of 32 bits"):
        fit(LowBit(kind="dorefa", weight_bits=32), epochs=1)


def test_the_plan_says_which_layers_and_how_many_bytes() -> None:
    spy = Spy()
    fit(LowBit(), watch=[spy], epochs=1)
    few, floats = 144 + 32 + 72 + 32 + 2 * (16 + 32), 4 * (576 + 288 + 2 * 64)
    ends = "stem, which is the first, head, which is the last"
    assert spy.run.plan.facts["lowbit"] == f"twn in 4 layers, shipped in {few:,} bytes in place of {floats:,}; in floats: {ends}"


def test_other_weights_and_another_model_are_refused(tmp_path: Path) -> None:
    fit(LowBit(), out=tmp_path, epochs=1)
    for path in (tmp_path, tmp_path / "shipped.safetensors"):
        with pytest.raises(ConfigError, match="it has layers of few bits, such as conv1, and this model has no such layer"):
            load(path, model=nn.Sequential(nn.Linear(2, 2)))
