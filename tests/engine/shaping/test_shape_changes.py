"""A change of the model's shape between two updates: every part follows, and a run that goes on from anywhere has the same bits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from accel import load
from accel.checkpoints import FOLDER
from accel.errors import ConfigError
from accel.parts import Part
from accel.plugins.accumulate import Accumulate
from accel.plugins.adamw import AdamW
from accel.plugins.amp import AMP
from accel.plugins.average import Average
from accel.plugins.clip import Clip
from accel.plugins.cuda_graph import CudaGraph
from accel.plugins.ema import EMA
from accel.plugins.finite_guard import FiniteGuard
from accel.plugins.lamb import LAMB
from accel.plugins.lr_range import LRRange
from accel.plugins.master_weights import MasterWeights
from accel.plugins.muon import Muon
from accel.plugins.oom import OOM
from accel.plugins.schedule_free import ScheduleFree
from accel.plugins.sgd import SGD
from accel.plugins.step_in_backward import StepInBackward
from accel.testing import fit_toy
from accel.testing.toy_run import Toy
from tests.support.drill_length import LONG
from tests.support.halved_layer import Halve

SETS: dict[str, Callable[[], list[Part]]] = {
    "adamw, ema, clip": lambda: [AdamW(lr=0.01), EMA(decay=0.8), Clip(max_norm=0.5)],
    "sgd, average of all": lambda: [SGD(lr=0.1, momentum=0.9), Average(last=None, every=1)],
    "lamb, average of the last": lambda: [LAMB(lr=0.01), Average(last=3, every=2)],
    "master_weights, ema": lambda: [MasterWeights(), AdamW(lr=0.01), EMA(decay=0.8)],
    "amp, finite_guard, accumulate": lambda: [AMP(dtype="float16", force=True), FiniteGuard(), Accumulate(steps=2), AdamW()],
    "muon": lambda: [Muon(lr=0.01), EMA(decay=0.8)],
    "schedule_free": lambda: [ScheduleFree(lr=0.01)],
    "step_in_backward": lambda: [StepInBackward(), AdamW(lr=0.01)],
    "oom": lambda: [OOM(), AdamW(lr=0.01)],
}


def equal(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("name", SETS)
def test_all_parts_follow(name: str) -> None:
    outcome = fit_toy([Halve(at=3), *SETS[name]()], epochs=2)
    shapes = [[tuple(tensor.shape) for tensor in state] for state in outcome.spy.states]
    per_update = 2 if "accumulate" in name else 1
    before, after = shapes[2], shapes[3]
    assert before[0] == (16, 6), "the first three updates have the whole layer"
    assert after[0] == (8, 6)
    assert len(before) == len(after), "the state of every parameter is there"
    assert [shape for shape in after if 16 in shape] == [], "nothing of the old shape is left"
    assert len(outcome.losses) == -(-12 // per_update)


@pytest.mark.parametrize("name", [name for name in SETS if name not in ("oom",)])
def test_a_resumed_run_has_the_same_bits_from_every_update(name: str, tmp_path: Path) -> None:
    def plugins() -> list[Part]:
        return [Halve(at=2, times=2), *SETS[name]()]

    whole = fit_toy(plugins(), epochs=2, out=tmp_path / "whole", checkpoint_every=1, checkpoint_keep=20)
    saved = sorted((tmp_path / "whole" / FOLDER).glob("*.pt"))
    assert len(saved) >= 6
    for file in saved[:-1] if LONG else [*saved[:4], saved[-2]]:  # around both changes, and long after them
        resumed = fit_toy(plugins(), epochs=2, out=tmp_path / file.stem, resume=file)
        assert equal(whole.weights, resumed.weights), file.stem
        assert whole.metrics == resumed.metrics, file.stem
        assert equal(whole.losses[len(whole.losses) - len(resumed.losses) :], resumed.losses), file.stem


def test_what_is_kept_of_a_parameter_is_carried_over() -> None:
    """Momentum and average of the units that are left go on from what they were."""
    runs = [fit_toy([Halve(at=3), SGD(lr=lr, momentum=0.9), EMA(decay=0.5, warmup=False)], epochs=1) for lr in (0.1,)]
    before, after = runs[0].spy.states[2], runs[0].spy.states[3]
    params = 6
    moment_before, moment_after = before[2 * params], after[2 * params]
    assert moment_before.shape == (16, 6)
    assert moment_after.shape == (8, 6)
    gradient = moment_after - 0.9 * moment_before[::2]
    weight_before, weight_after = before[0], after[0]
    assert torch.allclose(weight_after, weight_before[::2] - 0.1 * moment_after, atol=1e-6)
    assert bool(gradient.any())
    average_before, average_after = before[3 * params], after[3 * params]
    assert torch.allclose(average_after, 0.5 * average_before[::2] + 0.5 * weight_after, atol=1e-6)


def test_the_weights_are_loaded_into_the_shape_that_they_have(tmp_path: Path) -> None:
    outcome = fit_toy([Halve(at=3), AdamW(lr=0.01)], epochs=2, out=tmp_path / "run")
    with pytest.raises(ConfigError, match=r"the plugin halve has changed the modules of this model, and is not installed here"):
        load(tmp_path / "run", model=Toy().model())
    assert outcome.weights[0].shape == (8, 6)


def test_frozen_parameters_stay_frozen_and_thaw() -> None:
    outcome = fit_toy([Halve(at=3), SGD(lr=0.1)], epochs=2, freeze=[{"match": "0.*", "until": 5}])
    states = outcome.spy.states
    assert torch.equal(states[4][0], states[0][0][::2])
    assert not torch.equal(states[5][0], states[4][0])


def test_a_captured_update_is_refused_by_its_own_sentence() -> None:
    with pytest.raises(ConfigError, match="cuda_graph"):
        fit_toy([Halve(at=3), CudaGraph()])


def test_a_trial_changes_nothing() -> None:
    """The updates that find a learning rate on trial are more than those until the change, and the model is whole after them."""
    outcome = fit_toy([Halve(at=3), LRRange(updates=12)], epochs=1)
    assert [state[0].shape[0] for state in outcome.spy.states] == [16, 16, 16, 8, 8, 8]
