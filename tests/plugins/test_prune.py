"""A pruned run equals one whose channels are zero instead, resumes to the bit wherever it is cut, and refuses what cannot work."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import accel
from accel.checkpoints import find
from accel.compress.low_bits.packed_layer import PackedLayer
from accel.compress.pruning.channel_groups import kept_by_units
from accel.compress.pruning.channel_pruner import ChannelPruner
from accel.compress.pruning.model_cut import ModelCut
from accel.errors import AccelWarning, ConfigError
from accel.parts import Grads, Part, Replacement, Run, Watch
from accel.plugins.accumulate import Accumulate
from accel.plugins.adamw import AdamW
from accel.plugins.amp import AMP
from accel.plugins.average import Average
from accel.plugins.channels_last import ChannelsLast
from accel.plugins.clip import Clip
from accel.plugins.compile import Compile
from accel.plugins.ema import EMA
from accel.plugins.fold_bn import FoldBN
from accel.plugins.lamb import LAMB
from accel.plugins.lars import LARS
from accel.plugins.lowbit import LowBit
from accel.plugins.master_weights import MasterWeights
from accel.plugins.muon import Muon
from accel.plugins.norms import Norms
from accel.plugins.optimizer import Optimizer
from accel.plugins.prune import Prune
from accel.plugins.reparam import Reparam
from accel.plugins.schedule_free import ScheduleFree
from accel.plugins.sgd import SGD
from accel.plugins.step_in_backward import StepInBackward
from accel.testing import check_plugin
from accel.trainer import Trainer
from tests.support.drill_length import LONG
from tests.support.prunable_nets import FixedView, FlatConcat, PrunableNet, spread

pytest.importorskip("torch_pruning")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::accel.errors.AccelWarning")]

UPDATES = 9
KINDS = ("residual", "grouped", "depthwise", "concat")


class Stop(Exception):
    """Ends a run in the middle, as a crash would."""


@dataclass(eq=False)
class Spy(Watch):
    """Remembers the losses and the run; may stop it."""

    stop: int = 0
    losses: list[float] = field(default_factory=list, init=False)

    def begin(self, run: Run) -> None:
        self.run = run

    def after(self, step: int, loss: Tensor) -> None:
        self.losses.append(float(loss))
        if step == self.stop:
            raise Stop


class Pictures(Trainer):
    """A classifier of random pictures of 4 x 4."""

    net: Callable[[], nn.Module] = partial(PrunableNet, KINDS, width=16)

    def model(self) -> nn.Module:
        return spread(type(self).net())

    def data(self, split: str) -> Any:
        generator = torch.Generator().manual_seed(len(split))
        x = torch.randn(UPDATES * 4, 3, 4, 4, generator=generator)
        return TensorDataset(x, (x.mean((2, 3)).argmax(1)).long())

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return nn.functional.cross_entropy(model(batch[0]), batch[1])


def fit(plugins: Sequence[Part], stop: int = 0, **settings: Any) -> tuple[Any, Spy]:
    spy = Spy(stop=stop)
    task = settings.pop("task", Pictures)
    trainer = task(plugins=[*plugins, spy], watch=(), batch_size=4, updates=UPDATES, **settings)
    if stop:
        with pytest.raises(Stop):
            trainer.fit()
        return None, spy
    return trainer.fit(), spy


@dataclass(eq=False)
class Masked(Prune):
    """The same choice, but zeros instead of a cut, and gradients that are zero there."""

    @property
    def name(self) -> str:
        return "prune"

    def change(self, run: Run) -> Sequence[Replacement] | None:
        step = run.progress.step
        if step not in self.points or step <= self.done:
            return None
        self.done = step
        assert isinstance(self.pruner, ChannelPruner)
        model, tensors = run.unwrapped_model, {**dict(run.unwrapped_model.named_parameters()), **dict(run.parts.precision.params)}
        units = self.pruner.choose(model, tensors, self.points[step])
        self.cut = ModelCut(model, kept_by_units(model, self.pruner.groups, units))
        self.cut.zero(model)
        for name, tensor in run.parts.precision.params:
            self.cut.mask(name, tensor.detach())
        return [
            Replacement(param, param, lambda tensor, name=name: self.cut.mask(name, tensor.clone()))
            for name, param in model.named_parameters() if name in self.cut.indices
        ]  # fmt: skip

    def before_step(self, grads: Grads) -> None:
        super().before_step(grads)
        if hasattr(self, "cut"):
            grads.writable()
            for name, param in self.precision.params:
                if param.grad is not None:
                    self.cut.mask(name, param.grad)


RUNS: dict[str, tuple[Callable[[], list[Part]], dict[str, Any], dict[str, Any]]] = {
    "sgd": (lambda: [SGD(momentum=0.9, lr=0.01, weight_decay=0.01)], {}, {}),
    "adamw, ema, accumulate": (lambda: [AdamW(), EMA(decay=0.8), Accumulate(steps=2)], {}, {}),
    "groups, freeze, layer_decay": (
        lambda: [AdamW(groups=[{"match": "blocks.*", "lr_scale": 0.5}], layer_decay=0.8), Clip(max_norm=0.5)],
        {},
        {"freeze": ["stem.*", {"match": "blocks.1.*", "until": 6}]},
    ),
    "lamb, average": (lambda: [LAMB(lr=0.01), Average(last=2, every=2, batch_norm=0)], {}, {}),
    "lars, channels_last": (lambda: [LARS(lr=0.1), ChannelsLast(), Norms(every=1)], {"importance": "bn_scale"}, {}),
    "schedule_free, compile": (lambda: [ScheduleFree(), Compile(backend="eager")], {"importance": "taylor"}, {}),
    "optimizer": (lambda: [Optimizer("torch.optim.NAdam")], {"scope": "global"}, {}),
}


@pytest.mark.parametrize("name", RUNS if LONG else list(RUNS)[:4])
def test_a_pruned_run_equals_one_with_zeros_in_the_place_of_what_went(name: str) -> None:
    plugins, settings, more = RUNS[name]
    settings = {"end": 4, "l1": 1e-3, **settings}
    cut, cut_spy = fit([*plugins(), Prune(**settings)], **more)
    plugin = Masked(**settings)
    masked, masked_spy = fit([*plugins(), plugin], **more)
    assert sum(map(Tensor.numel, cut.model.parameters())) < 0.75 * sum(map(Tensor.numel, masked.model.parameters()))
    assert cut_spy.losses == pytest.approx(masked_spy.losses, rel=1e-4)
    for key, param in cut.model.named_parameters():
        expected = plugin.cut(key, masked.model.get_parameter(key).detach())
        assert expected is not None
        assert torch.allclose(expected, param, rtol=1e-3, atol=2e-5), key


RESUMED: dict[str, tuple[Callable[[], list[Part]], dict[str, Any]]] = {
    "channels, twice": (lambda: [AdamW(), EMA(decay=0.8)], {"begin": 1, "end": 5, "steps": 2, "multiple": 4}),
    "taylor": (
        lambda: [Optimizer("torch.optim.Adafactor"), Accumulate(steps=2), ChannelsLast()],
        {"end": 4, "importance": "taylor", "taylor_updates": 3},
    ),
    "slimming, global": (
        lambda: [Muon(), Average(last=2, every=2, batch_norm=0)], {"end": 3, "importance": "bn_scale", "scope": "global"},
    ),
    "16 bits": (lambda: [AdamW(), MasterWeights(force=True)], {"end": 4}),
    "weights": (lambda: [AdamW(), EMA(decay=0.8)], {"mode": "weights", "begin": 1, "end": 6, "steps": 3, "ratio": 0.8}),
    "pattern": (lambda: [SGD(), AMP(dtype="float16", force=True)], {"mode": "pattern", "end": 4, "steps": 2}),
}  # fmt: skip


def keys(out: Path) -> set[str]:
    checkpoint = find(str(out), out)
    assert checkpoint is not None
    return set(checkpoint.state())


@pytest.mark.parametrize("name", RESUMED if LONG else ("slimming, global", "16 bits", "weights"))
def test_resumed_from_any_update_it_ends_with_the_same_bits(name: str, tmp_path: Path) -> None:
    plugins, settings = RESUMED[name]
    whole, spy = fit([*plugins(), Prune(**settings)], out=tmp_path / "whole", checkpoint_every=1)
    for stop in (2, 5):
        out = tmp_path / str(stop)
        fit([*plugins(), Prune(**settings)], stop=stop, out=out, checkpoint_every=1)
        rest, rest_spy = fit([*plugins(), Prune(**settings)], resume=out)
        assert rest_spy.losses == spy.losses[stop - 1 :], stop
        assert rest.metrics == whole.metrics
        assert keys(out) == keys(tmp_path / "whole"), "what was made smaller by a cut is not what a user's model has resized"
        state = whole.model.state_dict()
        assert {key: value.shape for key, value in rest.model.state_dict().items()} == {
            key: value.shape for key, value in state.items()
        }
        assert all(torch.equal(value, state[key]) for key, value in rest.model.state_dict().items()), stop


def test_a_pruned_run_is_loaded_evaluated_and_begun_with(tmp_path: Path) -> None:
    result, _ = fit([AdamW(), EMA(), Prune(end=3)], out=tmp_path / "run")
    loaded = accel.load(tmp_path / "run")
    x = Pictures().data("val").tensors[0]
    assert torch.equal(loaded.eval()(x), result.model.eval()(x))
    assert loaded.get_parameter("stem.weight").shape[0] == 8
    again, _ = fit([AdamW()], init=tmp_path / "run")
    assert again.model.get_parameter("stem.weight").shape[0] == 8
    deeper, _ = fit([AdamW(), Prune(end=0, ratio=0.75, multiple=4)], init=tmp_path / "run")
    assert deeper.model.get_parameter("stem.weight").shape[0] == 4, "of the channels that the user's own model has"


class Branched(Pictures):
    """Without a concatenation, to which Torch-Pruning follows no sum of branches."""

    net = partial(PrunableNet, KINDS[:3], width=16)


class Signed(Branched):
    """Its first block takes what has signs."""


SHAPED: dict[str, Callable[[], list[Part]]] = {
    "reparam": lambda: [Reparam()], "acnet": lambda: [Reparam(kind="acnet")], "fold_bn": lambda: [FoldBN()],
    "all": lambda: [Reparam(), FoldBN(), LowBit(keep=["stem", "head"])],
}  # fmt: skip


@pytest.mark.parametrize("kind", ["twn", "bnn"])
def test_it_is_tried_out_on_floats_in_a_resumed_run_too(kind: Any, tmp_path: Path) -> None:
    def plugins() -> list[Part]:
        few = LowBit(kind=kind, layers=["blocks.0.conv"], keep=[])
        return [SGD(lr=0.01), Prune(end=5), Reparam(layers=["blocks.1.conv"]), few, FoldBN()]

    whole, _ = fit(plugins(), task=Signed, out=tmp_path / "whole")
    fit(plugins(), task=Signed, stop=3, out=tmp_path / "part", checkpoint_every=1)
    rest, _ = fit(plugins(), task=Signed, resume=tmp_path / "part")
    state = whole.model.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in rest.model.state_dict().items())
    one, other = ((tmp_path / name / "shipped.safetensors").read_bytes() for name in ("whole", "part"))
    assert one == other, "each part saw the model that it saw at first"


@pytest.mark.parametrize("name", SHAPED)
def test_what_is_shipped_of_a_cut_model_is_loaded_and_cut_again(name: str, tmp_path: Path) -> None:
    fit([*SHAPED[name](), AdamW(), Prune(end=3)], task=Branched, out=tmp_path / "run")
    file = tmp_path / "run" / "shipped.safetensors"
    trained, shipped = (accel.load(path).eval() for path in (tmp_path / "run", file))
    x = Pictures().data("val").tensors[0]
    with torch.no_grad():
        assert torch.allclose(trained(x), shipped(x), atol=1e-4)
    again = [AdamW(), Prune(end=0, ratio=0.75, multiple=4)]
    if any(isinstance(module, PackedLayer) for module in shipped.modules()):
        with pytest.raises(ConfigError, match=r"begins with \S+ as a Packed\w+, which cannot be cut; begin with the run"):
            fit(again, task=Branched, init=file)
        return
    deeper, _ = fit(again, task=Branched, init=file)
    assert deeper.model.get_submodule("stem").weight.shape[0] == 4, "of the channels that the user's own model has"


def test_a_ratio_that_takes_nothing_is_told() -> None:
    with pytest.warns(AccelWarning, match=r"prune has no effect: with prune.ratio=0.5 each layer keeps its channels, in multiples"):
        fit([Prune(end=4, multiple=64)])


def test_weights_stay_zero_whatever_moves_them() -> None:
    for plugins in ([Muon()], [AdamW(), EMA(decay=0.5), Accumulate(steps=2)], [LAMB(), MasterWeights(force=True)]):
        result, _ = fit([*plugins, Prune(mode="weights", end=3, ratio=0.7, scope="global", exclude=["head"])])
        weights = [param for name, param in result.model.named_parameters() if param.dim() > 1 and not name.startswith("head")]
        zeros = sum(int((weight == 0).sum()) for weight in weights)
        assert zeros == pytest.approx(0.7 * sum(weight.numel() for weight in weights), abs=5)
        assert result.model.get_parameter("head.weight").all()


def test_the_plan_and_the_summary_say_what_it_saves(tmp_path: Path) -> None:
    result, spy = fit([Prune(end=3)])
    facts = spy.run.plan.facts
    assert facts["pruning"] == "of the channels go: 50% after update 3"
    assert facts["left so far"] == "88 of 88 channels in 7 groups of layers; whole: head (the model gives it out)"
    before, after = (sum(map(Tensor.numel, model.parameters())) for model in (Pictures().model(), result.model))
    assert facts["pruning, in the end"].startswith(f"{before:,} -> {after:,} parameters, ")
    assert re.search(
        r"; forward pass of 4 samples \S+ -> \S+ ms, (\S+ times as fast|in \d+ rounds that)", facts["pruning, in the end"]
    )
    notes = spy.run.parts.pruning.summary_notes()
    assert any(f"{before:,} -> {after:,} parameters" in note for note in notes)
    assert any("stem 16 -> 8" in note for note in notes)
    _, spy = fit([Prune(mode="weights", end=3)])
    assert "zeros alone make nothing faster here" in spy.run.plan.facts["pruning, in the end"]


class Narrow(Pictures):
    net = FixedView


class Flat(Pictures):
    net = FlatConcat


class Normed(Pictures):
    """Its channels run through a LayerNorm."""

    @staticmethod
    def net() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(48, 16), nn.LayerNorm(16), nn.ReLU(), nn.Linear(16, 3))


@pytest.mark.parametrize(("settings", "sentence"), [
    ({"ratio": 0.98}, r"prune\.ratio=0\.98 leaves nothing of stem, which has 16 channels; set a smaller one, or"),
    ({"importance": "taylor", "end": 0}, r"prune\.importance=taylor needs gradients, and there are none before its first step"),
    ({"importance": "size"}, r"prune\.importance='size'|prune\.importance must be"),
    ({"end": 40}, r"prune\.end=40 is not within the run of 9 updates"),
    ({"steps": 20}, r"prune\.steps=20 has no room between"),
    ({"exclude": ["stm"]}, r"prune\.exclude: 'stm' matches no layer; did you mean 'stem'"),
    ({"task": Narrow}, r"prune: the channels of second cannot be followed through the model: without some of them it raises"),
    ({"task": Flat}, r"no channels of FlatConcat can go: first: Torch-Pruning loses its channels on the way to"),
    ({"task": Normed}, r"no channels of Sequential can go: 1: 2 \(LayerNorm\) needs it whole"),
    ({"mode": "pattern", "pattern": "4:2"}, r"prune\.pattern=4:2 is no N:M"),
    ({"beside": [StepInBackward()], "mode": "weights"}, r"looks at all gradients, and step_in_backward has each for itself"),
])  # fmt: skip
def test_what_cannot_work_is_refused_before_the_first_update(settings: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    more = {name: settings.pop(name) for name in ("task",) if name in settings}
    beside = settings.pop("beside", [])
    with pytest.raises(ConfigError, match=sentence):
        fit([*beside, Prune(**{"end": 4, **settings})], out=tmp_path / "run", **more)
    assert not (tmp_path / "run").exists(), "nothing is half-written"


def test_without_its_package_it_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accel.system.machine.importable", lambda package: package != "torch_pruning")
    with pytest.raises(ConfigError, match=r"pip install 'accel-train\[prune\]'"):
        fit([Prune(end=4)])
    fit([Prune(end=4, mode="weights")])


def test_common_suite_with_a_pattern() -> None:
    # with its default settings in a toy that has channels to cut, it is tried above; with masks by test_common.py
    check_plugin(lambda: Prune(mode="pattern", pattern="1:2", l1=1e-4), beside=["adamw", "ema"])
