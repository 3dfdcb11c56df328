"""Fake quantisation in a run, the integers after it, and every run that goes on from it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from accel import compose, load
from accel.checkpoints import FOLDER
from accel.cli.saved import evaluate_command
from accel.compress import pt2e_model
from accel.compress.quantisation.frozen_norms import FrozenNorm
from accel.compress.quantisation.integer_layer import IntegerLayer
from accel.compress.quantisation.levels import weight_codes
from accel.compress.quantisation.quantised_layer import QuantisedLayer, quantisers_of
from accel.errors import ConfigError
from accel.parts import Part
from accel.plugins.accumulate import Accumulate
from accel.plugins.adamw import AdamW
from accel.plugins.amp import AMP
from accel.plugins.channels_last import ChannelsLast
from accel.plugins.compile import Compile
from accel.plugins.distill import Distill
from accel.plugins.ema import EMA
from accel.plugins.finite_guard import FiniteGuard
from accel.plugins.fold_bn import FoldBN
from accel.plugins.lowbit import LowBit
from accel.plugins.master_weights import MasterWeights
from accel.plugins.prune import Prune
from accel.plugins.qat import QAT
from accel.plugins.recompute import Recompute
from accel.plugins.reparam import Reparam
from accel.plugins.sgd import SGD
from accel.plugins.step_in_backward import StepInBackward
from accel.tasks.digits import Digits
from accel.testing.toy_run import Spy
from tests.support import compressed_runs
from tests.support.compressed_runs import PICTURES, PictureTask, equal, names_of, weights
from tests.support.drill_length import LONG

pytest.importorskip("torchao")

LAYERS = ["stem", "conv1", "conv2", "hidden", "head"]


class Net(nn.Module):
    """Convolutions with norms, one of them residual, and Linear."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn0 = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.conv1, self.bn1 = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, stride=2, groups=2)
        self.hidden, self.head = nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores, (N, 3)."""
        x = self.bn0(self.stem(x)).relu()
        x = self.bn1(self.conv1(x)) + x
        x = self.conv2(x).mean((2, 3))
        return self.head(self.hidden(x).relu())  # type: ignore[no-any-return]


class Pictures(PictureTask):
    def model(self) -> nn.Module:
        return Net()


class Plain(Pictures):
    """The same without norms."""

    def model(self) -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 3))


fit = partial(compressed_runs.fit, kind=Pictures)
KINDS: dict[str, Callable[[], QAT]] = {
    "uint8": QAT,
    "int8, begins later": lambda: QAT(inputs="int8", begin=3, freeze=7),
    "histogram": lambda: QAT(observer="histogram", freeze=None),
}
TOGETHER: dict[str, Callable[[], list[Part]]] = {
    "ema, accumulate": lambda: [AdamW(lr=0.01), EMA(decay=0.8), Accumulate(steps=2)],
    "amp, channels_last": lambda: [AdamW(lr=0.01), AMP(force=True), ChannelsLast()],
    "float16, guard": lambda: [AdamW(lr=0.01), AMP(dtype="float16", force=True, init_scale=2.0**24), FiniteGuard()],
    "compile": lambda: [AdamW(lr=0.01), Compile(backend="eager")],
    "master_weights": lambda: [AdamW(lr=0.01), MasterWeights(force=True)],
    "step_in_backward": lambda: [AdamW(lr=0.01), StepInBackward()],
    "fold_bn": lambda: [AdamW(lr=0.01), FoldBN()],
    "distill": lambda: [SGD(lr=0.1), Distill(teacher())],
}
CASES = [*((kind, "ema, accumulate") for kind in KINDS), *(("uint8", name) for name in TOGETHER if name != "ema, accumulate")]


def teacher() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return Net()


@pytest.mark.parametrize(("kind", "name"), CASES if LONG else CASES[::2])
@pytest.mark.slow
def test_what_is_shipped_is_the_integers_of_the_training(kind: str, name: str, tmp_path: Path) -> None:
    steps = {"epochs": 8} if "accumulate" in name or "guard" in name else {}
    result = fit(KINDS[kind](), *TOGETHER[name](), out=tmp_path, **steps)
    assert "shipped.safetensors" in result.files
    trained, shipped = load(tmp_path), load(tmp_path / "shipped.safetensors")
    assert names_of(trained, QuantisedLayer) == names_of(shipped, IntegerLayer) == LAYERS
    assert names_of(shipped, nn.Identity) == ["bn0", "bn1"]
    assert equal(list(trained.state_dict().values()), weights(result))
    for layer in LAYERS:
        codes, _ = weight_codes(trained.get_parameter(f"{layer}.weight"))
        assert torch.equal(shipped.get_buffer(f"{layer}.weight").abs(), codes.abs()), layer
    with torch.no_grad():
        expected = trained(PICTURES)
        assert not torch.equal(expected, expected.round())
        assert float((shipped(PICTURES) - expected).abs().max()) <= 0.02 * max(1.0, float(expected.abs().max()))
        graph = pt2e_model(shipped, (PICTURES[:2],))
        assert torch.equal(graph(PICTURES), shipped(PICTURES)), "torchao's graph computes the same"
    assert load_file(tmp_path / "shipped.safetensors")["conv1.weight"].dtype == torch.int8


@pytest.mark.parametrize(("kind", "name"), CASES if LONG else CASES[:2])
@pytest.mark.slow
def test_a_resumed_run_has_the_same_bits_from_every_update(kind: str, name: str, tmp_path: Path) -> None:
    whole = fit(KINDS[kind](), *TOGETHER[name](), out=tmp_path / "whole", checkpoint_every=1, checkpoint_keep=20, epochs=4)
    files = sorted((tmp_path / "whole" / FOLDER).glob("*.pt"))[:-1]
    begins_and_freezes = (0, 2, 3, 6, 7, 10)
    for file in files if LONG else [files[place] for place in begins_and_freezes]:
        manifest = json.loads(file.with_suffix(".json").read_text())
        assert [entry["plugin"] for entry in manifest.get("structure", [])] in (["qat"], [])
        resumed = fit(KINDS[kind](), *TOGETHER[name](), out=tmp_path / file.stem, resume=file, epochs=4)
        assert equal(weights(whole), weights(resumed)), file.stem
        assert whole.metrics == resumed.metrics, file.stem


def test_a_run_is_the_same_to_the_bit_until_it_begins() -> None:
    plain, spy = Spy(), Spy()
    fit(SGD(lr=0.1), watch=[plain])
    result = fit(QAT(begin=4, freeze=None), SGD(lr=0.1), watch=[spy])
    same = [torch.equal(a, b) for a, b in zip(plain.losses, spy.losses, strict=True)]
    assert same == [True] * 4 + [False] * 6
    assert [name for name, _ in result.model.named_parameters()] == [name for name, _ in Net().named_parameters()]


def test_ranges_and_norms_stand_still_from_freeze_on() -> None:
    states: list[dict[str, Tensor]] = []

    class Look(Spy):
        def after(self, step: int, loss: Tensor) -> None:
            states.append({name: value.clone() for name, value in self.run.unwrapped_model.named_buffers()})

    result = fit(QAT(freeze=6), SGD(lr=0.1), watch=[Look()])
    for name in ("conv1.input_quantiser.high", "bn0.running_mean", "bn1.running_var", "bn1.num_batches_tracked"):
        moves = [not torch.equal(one[name], other[name]) for one, other in pairwise(states)]
        assert moves == [True] * 5 + [False] * 4, name
    assert len(names_of(result.model, FrozenNorm)) == 2


def test_accumulation_is_the_big_batch() -> None:
    small = fit(QAT(freeze=None), SGD(lr=0.1), Accumulate(steps=2), kind=Plain, epochs=3)
    big = fit(QAT(freeze=None), SGD(lr=0.1), kind=Plain, batch_size=8, epochs=3)
    assert max(float((a - b).abs().max()) for a, b in zip(weights(small), weights(big), strict=True)) <= 1e-4
    for one, other in zip(*(quantisers_of(each.model).values() for each in (small, big)), strict=True):
        assert torch.allclose(one.scale, other.scale, rtol=1e-4)  # type: ignore[arg-type]


def test_evaluations_leave_ranges_as_they_are() -> None:
    often = fit(QAT(), SGD(lr=0.1), evaluate_every=1)
    assert equal(weights(often), weights(fit(QAT(), SGD(lr=0.1))))


def test_a_skipped_update_moves_no_range() -> None:
    spy = Spy()
    amp = AMP(dtype="float16", force=True, init_scale=2.0**60)
    fit(QAT(freeze=None), SGD(lr=0.1), amp, FiniteGuard(), watch=[spy], updates=2)
    assert all(int(each.known) == 0 for each in quantisers_of(spy.run.unwrapped_model).values())  # type: ignore[arg-type]


def test_runs_go_on_from_each_other(tmp_path: Path) -> None:
    fit(QAT(), AdamW(lr=0.01), out=tmp_path / "first")
    spy = Spy()
    other = fit(QAT(freeze=None), SGD(lr=1e-30), init=str(tmp_path / "first"), updates=2, watch=[spy])
    assert names_of(other.model, QuantisedLayer) == LAYERS
    assert not names_of(other.model, FrozenNorm), "the new run moves them again"
    without = fit(SGD(lr=1e-30), init=str(tmp_path / "first"), updates=1, out=tmp_path / "again")
    assert names_of(without.model, QuantisedLayer) == LAYERS, "the run that has no plugin keeps the structure"
    shipped = str(tmp_path / "first" / "shipped.safetensors")
    with pytest.raises(ConfigError, match="are integers, which cannot be trained; begin with the run that made them, by init=RUN"):
        fit(QAT(), init=shipped)
    with pytest.raises(ConfigError, match=r"qat.inputs=int8: the weights .* were trained with uint8; set plugins.qat.inputs=uint8"):
        fit(QAT(inputs="int8"), init=str(tmp_path / "first"))


def test_other_plugins_that_shape_the_model_come_first(tmp_path: Path) -> None:
    for name, first in (("branches", Reparam(layers=["conv1"])), ("cut", Prune(end=2, multiple=4))):
        fit(first, QAT(begin=1, freeze=6), AdamW(lr=0.01), out=tmp_path / name)
        trained, shipped = load(tmp_path / name), load(tmp_path / name / "shipped.safetensors")
        # what has branches stays in floats
        assert names_of(shipped, IntegerLayer) == [layer for layer in LAYERS if (name, layer) != ("branches", "conv1")]
        with torch.no_grad():
            assert torch.allclose(trained(PICTURES), shipped(PICTURES), atol=0.05), name
    assert shipped.get_buffer("conv1.weight").shape[0] == 4


SHAPED: dict[str, Callable[[], list[Part]]] = {
    "prune": lambda: [Prune(end=5, multiple=4)],
    "prune weights": lambda: [Prune(mode="weights", end=5)],
    "reparam": lambda: [Reparam(layers=["conv1"])],
    "prune, acnet": lambda: [Prune(end=5, multiple=4), Reparam(kind="acnet", layers=["stem"])],
    "fold_bn": lambda: [FoldBN()],
    "prune, reparam, fold_bn": lambda: [Prune(end=2, multiple=4), Reparam(layers=["conv1"]), FoldBN()],
    "distill": lambda: [Distill(teacher(), hints=["conv1", "hidden"])],
}
FEW = ("prune weights", "prune, reparam, fold_bn", "distill")
"""Those that the suite tries; `make drill` tries all."""


@pytest.mark.parametrize("kind", ["uint8", "histogram"] if LONG else ["uint8"])
@pytest.mark.parametrize("name", SHAPED if LONG else FEW)
@pytest.mark.slow
def test_each_part_sees_the_model_that_it_saw_at_first(name: str, kind: str, tmp_path: Path) -> None:
    def run(folder: str, **settings: Any) -> tuple[list[Tensor], dict[str, float], bytes]:
        qat = QAT(begin=3, freeze=7) if kind == "uint8" else QAT(begin=3, freeze=7, observer="histogram")
        result = fit(*SHAPED[name](), qat, AdamW(lr=0.01), EMA(decay=0.8), out=tmp_path / folder, **settings)
        return weights(result), result.metrics, (tmp_path / folder / "shipped.safetensors").read_bytes()

    whole = run("whole", checkpoint_every=1, checkpoint_keep=20)
    files = sorted((tmp_path / "whole" / FOLDER).glob("*.pt"))[:-1]
    for file in files if LONG else files[2:9:2]:
        rest = run(file.stem, resume=file)
        assert equal(whole[0], rest[0]), file.stem
        assert whole[1:] == rest[1:], file.stem


@pytest.mark.parametrize("kind", ["moving_average", "histogram"])
def test_ranges_that_a_run_begins_with_are_kept_beside_other_plugins(kind: Any, tmp_path: Path) -> None:
    first = fit(QAT(freeze=6, observer=kind), AdamW(lr=0.01), out=tmp_path)
    for others in ([], [Prune(mode="weights", end=0)], [FoldBN()]):
        for quantises in (True, False):
            own: list[Part] = [QAT(freeze=None, observer=kind)] if quantises else []
            after = fit(*others, *own, SGD(lr=1e-30), init=str(tmp_path), updates=1)
            ranges = [dict(quantisers_of(one.model)["stem"].named_buffers()) for one in (first, after)]
            if not quantises:
                assert all(torch.equal(value, ranges[1][name]) for name, value in ranges[0].items())
            elif kind == "histogram":
                assert ranges[0]["observer.histogram"].sum() < ranges[1]["observer.histogram"].sum(), "it sees more"
            else:
                assert torch.allclose(ranges[0]["high"], ranges[1]["high"], rtol=0.01), "the average goes on"


def test_a_run_that_begins_with_integers_trains_what_is_left(tmp_path: Path) -> None:
    fit(QAT(keep=["head"]), AdamW(lr=0.01), out=tmp_path / "first")
    file = str(tmp_path / "first" / "shipped.safetensors")
    whole = fit(SGD(lr=0.1), init=file, out=tmp_path / "whole", checkpoint_every=1, checkpoint_keep=20)
    checkpoint = sorted((tmp_path / "whole" / FOLDER).glob("*.pt"))[3]
    rest = fit(SGD(lr=0.1), init=file, out=tmp_path / "rest", resume=checkpoint)
    assert names_of(rest.model, IntegerLayer) == ["stem", "conv1", "conv2", "hidden"]
    assert equal(weights(whole), weights(rest))
    before, after = (load_file(tmp_path / name / "shipped.safetensors") for name in ("first", "rest"))
    assert {name for name in before if not torch.equal(before[name], after[name])} == {"head.weight", "head.bias"}


@pytest.mark.parametrize("first", [QAT, lambda: LowBit(layers=["conv1"], keep=[])])
def test_layers_that_were_shaped_take_no_branches(first: Callable[[], Part], tmp_path: Path) -> None:
    made = first()
    fit(made, AdamW(lr=0.01), out=tmp_path)
    sentence = f"reparam changes layers that {made.name} has shaped in the weights that the run begins with; leave it out: '~"
    for again in ([first()], []):
        with pytest.raises(ConfigError, match=sentence):
            fit(Reparam(layers=["conv1"]), *again, init=str(tmp_path))


class Block(nn.Module):
    """A block that a model repeats."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(8, 8), nn.LayerNorm(8)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.linear(x)).relu() + x  # type: ignore[no-any-return]


class Blocks(Pictures):
    """A model that repeats a block."""

    def model(self) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.Sequential(Block(), Block(), Block()), nn.Linear(8, 3))


def test_what_is_computed_twice_is_seen_once() -> None:
    plain = fit(QAT(), SGD(lr=0.1), kind=Blocks)
    assert equal(weights(plain), weights(fit(QAT(), SGD(lr=0.1), Recompute(), kind=Blocks)))


class Asks(nn.Module):
    """A model that asks for the numbers in a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(192, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x.flatten(1))
        return -x if x.sum() > 0 else x


class Tied(nn.Module):
    """A layer that is called twice, and one whose class is the user's."""

    class Own(nn.Linear):
        """A layer of the user."""

    def __init__(self) -> None:
        super().__init__()
        self.twice, self.own = nn.Linear(192, 192), self.Own(192, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.own(self.twice(self.twice(x.flatten(1))))  # type: ignore[no-any-return]


class InParts(Pictures):
    """A loss that calls a part of the model."""

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        own: Any = model
        return nn.functional.cross_entropy(own.head(own.stem(batch[0]).mean((2, 3))), batch[1])


def of(kind: Callable[[], nn.Module]) -> type[Pictures]:
    class Other(Pictures):
        """Pictures for another model."""

        def model(self) -> nn.Module:
            return kind()

    return Other


def no_layers() -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(3), nn.Flatten())


REFUSED: dict[str, Callable[[], Any]] = {
    "qat: torch.export cannot capture Asks at ": lambda: fit(QAT(), kind=of(Asks)),
    "qat: the model has no layer to quantise: it calls no convolution and no Linear": lambda: fit(QAT(), kind=of(no_layers)),
    "qat: the model has no layer to quantise: twice is called more than once": lambda: fit(QAT(), kind=of(Tied)),
    "qat: the loss calls parts of the model alone": lambda: fit(QAT(), kind=InParts),
    "qat.keep: 'conv9' matches no layer; did you mean 'conv": lambda: fit(QAT(keep=["conv9"])),
    "qat.freeze=2 is not after qat.begin=3": lambda: fit(QAT(begin=3, freeze=2)),
    "qat.begin=99 is not within the run of 10 updates": lambda: fit(QAT(begin=99)),
    "qat.observer must be moving_average or histogram, not 'mse'": lambda: fit(QAT(observer="mse")),  # type: ignore[arg-type]
    "plugins lowbit and qat both provide Quantisation": lambda: fit(QAT(), LowBit()),
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_cannot_be_is_refused_in_a_sentence(sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        REFUSED[sentence]()
    assert str(error.value).startswith(sentence)
    assert "\n" not in str(error.value)


def test_the_line_that_cannot_be_captured_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"at .*test_qat.py:\d+ \(return -x if x.sum\(\) .*\): in torch.Tensor.__bool__, "):
        fit(QAT(), kind=of(Asks), out=tmp_path / "run")
    assert not (tmp_path / "run").exists() or not list((tmp_path / "run").iterdir())


def test_the_plan_and_the_summary_say_what_is_done() -> None:
    spy = Spy()
    fit(QAT(begin=2, freeze=5, keep=["stem"]), watch=[spy], epochs=2)
    still = "ranges and norms stand still after update 5"
    assert spy.run.plan.facts["qat"] == f"4 layers in 8 bits after update 2, {still}; in floats: stem, which is named in keep"


def test_another_model_is_refused(tmp_path: Path) -> None:
    fit(QAT(), out=tmp_path, epochs=1)
    for path in (tmp_path, tmp_path / "shipped.safetensors"):
        with pytest.raises(ConfigError, match="it has layers of 8 bits, such as stem, and this model has no such layer"):
            load(path, model=nn.Sequential(nn.Linear(2, 2)))


class OneLayer(Digits):
    """Digits, with a model all of whose parameters become integers."""

    def model(self) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 10, bias=False))


def test_integers_are_evaluated_from_the_command_line_to_the_metrics_of_the_run(tmp_path: Path) -> None:
    pytest.importorskip("sklearn", exc_type=ImportError)
    words = [f"task._target_={__name__}.OneLayer", "epochs=1", "+plugins=[qat,sgd]", f"out={tmp_path / 'run'}", "device=cpu"]
    result = compose(words).trainer(watch=()).fit()
    file = tmp_path / "metrics.json"
    assert evaluate_command.main([str(tmp_path / "run" / "shipped.safetensors"), f"out={file}"]) == 0
    assert json.loads(file.read_text())["metrics"]["accuracy"] == pytest.approx(result.metrics["accuracy"], abs=0.01)
