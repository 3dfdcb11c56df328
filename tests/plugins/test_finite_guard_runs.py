"""Runs that the guard ends, counts in, and shares with other plugins."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import pytest
import torch

from accel.errors import AccelWarning, ConfigError, TrainingError
from accel.parts import Part, Precision
from accel.plugins.adamw import AdamW
from accel.plugins.amp import AMP
from accel.plugins.clip import Clip
from accel.plugins.ema import EMA
from accel.plugins.finite_guard import FiniteGuard
from accel.plugins.lr_range import LRRange
from accel.plugins.sgd import SGD
from accel.testing import fit_toy
from accel.testing.graph_replay import taped_graph
from accel.testing.toy_run import Toy
from tests.support.spoilt_updates import BESIDE, OPTIMISERS

pytestmark = pytest.mark.filterwarnings("ignore:ema averages the weights that are trained")  # beside schedule_free


@pytest.mark.parametrize("optim", ["sgd", "adamw not fused"])
def test_too_many_in_a_row_end_the_run(optim: str, tmp_path: Path) -> None:
    guard = FiniteGuard(in_a_row=3)
    with pytest.raises(TrainingError) as caught:
        fit_toy([guard, OPTIMISERS[optim]()], overflow=[2, 3, 5, 7, 8, 9], out=tmp_path / "run", checkpoint_every=8)
    message = str(caught.value)
    assert message.startswith("finite_guard: the loss or a gradient was not finite in updates 7 to 9, 3 in a row (")
    assert "loss inf, gradients of 0.weight and 5 more" in message
    # the end of epoch 1 is its sixth update; what was saved after update 8 had a loss that was not finite
    last = tmp_path / "run/checkpoints/update-00000006-epoch-0001.pt"
    assert message.endswith(f"; the last checkpoint that is proven finite is {last}; go on from it with resume={str(last)!r}")
    assert caught.value.resume == str(last)
    rest = fit_toy([FiniteGuard(in_a_row=3), OPTIMISERS[optim]()], resume=last)
    assert rest.spy.run.progress.step > 9, "which that does"


def test_where_there_is_nothing_to_go_back_to_it_says_so(tmp_path: Path) -> None:
    guard = FiniteGuard(in_a_row=3)
    with pytest.raises(
        TrainingError, match=r"; there is no checkpoint to go on from, for the run has no directory \(out\)$"
    ) as caught:
        fit_toy([guard], overflow=[2, 3, 4])
    assert caught.value.resume == ""
    with pytest.raises(TrainingError, match=r"; no checkpoint is proven finite, so there is none to go on from$") as caught:
        fit_toy([guard], overflow=[1, 2, 3], out=tmp_path / "run", checkpoint_every=1)
    assert caught.value.resume == ""
    assert list((tmp_path / "run/checkpoints").glob("*.json")), "there are some"


def test_the_first_one_may_end_it() -> None:
    with pytest.raises(TrainingError, match=r"was not finite in update 5 \("):
        fit_toy([FiniteGuard(in_a_row=1)], overflow=[5])


def test_weights_that_are_not_finite_are_told() -> None:
    @dataclass(eq=False)
    class Huge(Precision):
        def gradients(self) -> Any:
            grads = super().gradients()
            grads.params[0].grad.fill_(1e15)  # type: ignore[union-attr]
            return grads

    with pytest.raises(TrainingError, match=r"since the weights are not \(0.weight\); begin again"):
        fit_toy([FiniteGuard(in_a_row=4), Huge(), SGD(lr=1e25, momentum=0.0)])


def test_the_count_survives_a_resume(tmp_path: Path) -> None:
    # updates 5 to 8 are bad; the run is cut off in the midst of them
    fit_toy([FiniteGuard(in_a_row=4)], out=tmp_path, overflow=[2, 5, 6, 7, 8], checkpoint_every=1, stop=7)
    with pytest.raises(TrainingError, match="updates 5 to 8, 4 in a row"):
        fit_toy([FiniteGuard(in_a_row=4)], resume=tmp_path, overflow=[1, 2])  # calls count from the resumed update, 7


def test_skips_are_counted_once_and_shown_with_and_without_a_loss_scale(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for beside in BESIDE["float16"](), []:
        outcome = fit_toy([FiniteGuard(), "progress", "metrics", *beside], overflow=[3, 8], out=tmp_path / str(len(beside)))
        assert int(outcome.spy.run.parts.guard.skipped) == 2  # type: ignore[arg-type]
        assert "12 updates (2 skipped)" in capsys.readouterr().out
        assert '"skipped": 2' in (tmp_path / str(len(beside)) / "metrics.jsonl").read_text()


def test_the_search_for_a_loss_scale_does_not_end_a_run() -> None:
    amp = AMP(dtype="float16", force=True, init_scale=2.0**40)
    outcome = fit_toy([FiniteGuard(in_a_row=30), amp], epochs=6)
    assert 10 <= int(outcome.spy.run.parts.guard.skipped) < 30  # type: ignore[arg-type]
    with pytest.warns(AccelWarning, match=r"finite_guard.in_a_row=10: with a loss scale .* take more than 16"):
        fit_toy([FiniteGuard(in_a_row=10), AMP(dtype="float16", force=True)], epochs=1)


def test_nothing_is_read_on_the_host_with_a_fused_optimiser() -> None:
    run = fit_toy([FiniteGuard(), AdamW(), EMA(), Clip()], overflow=[3], counts=True)
    assert run.spy.reads.count == 0, run.spy.reads.places


def test_a_range_test_that_explodes_ends_neither_the_run_nor_its_count() -> None:
    probe = LRRange(end=1e30, stop=1e30)
    actual = fit_toy([FiniteGuard(in_a_row=1), probe])
    assert "tried, from 1e-06" in probe.outcome
    assert "100 tried" not in probe.outcome, "it exploded"
    assert actual.equals(fit_toy([]))
    assert int(actual.spy.run.parts.guard.skipped) == 0  # type: ignore[arg-type]


def test_updates_that_are_replayed_are_guarded_too() -> None:
    class Poisoned(Toy):
        """Its data, not its Python, makes the loss of some updates infinite: a replay runs no Python."""

        bad: tuple[int, ...] = ()

        def data(self, split: str) -> Any:
            batches = [batch.clone() for batch in torch.randn(12, 4, 6, generator=torch.Generator().manual_seed(0)).unbind()]
            for update in self.bad if split == "train" else ():
                batches[update - 1][0, 0] = inf
            return [(batch, torch.zeros(4, dtype=torch.long)) for batch in batches] if split == "train" else None

    def fit(bad: tuple[int, ...], *plugins: Part) -> Any:
        trainer = Poisoned(plugins=plugins, watch=(), seed=1)
        trainer.bad = bad
        return trainer.fit()

    graph = taped_graph(warmup=1)
    replayed, run = fit((5, 8, 9), graph, FiniteGuard(), AdamW(), EMA()), fit((5, 8, 9), FiniteGuard(), AdamW(), EMA())
    assert graph.recorder.replays
    assert replayed.skipped == run.skipped == 3
    for a, b in zip(replayed.model.parameters(), run.model.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6), "learning rates are float32 in a graph"
        assert torch.isfinite(a).all()
    with pytest.raises(TrainingError, match="in updates 7 to 9, 3 in a row"):
        fit((5, 7, 8, 9), taped_graph(warmup=1), FiniteGuard(in_a_row=3), AdamW())


def test_what_cannot_be_guarded_is_refused() -> None:
    with pytest.raises(ConfigError, match="cuda_graph cannot capture the update: sgd: SGD is not fused"):
        fit_toy([FiniteGuard(), SGD(fused=False), taped_graph()])
    with pytest.raises(ConfigError, match="step_in_backward has each gradient for itself, and finite_guard looks at all of them"):
        fit_toy([FiniteGuard(), "step_in_backward"])


def test_the_plan_says_who_waits() -> None:
    assert "waits" not in fit_toy([FiniteGuard(), AdamW()]).spy.run.plan.facts["updates not finite"]
    assert "each update waits" in fit_toy([FiniteGuard(), AdamW(fused=False)]).spy.run.plan.facts["updates not finite"]
