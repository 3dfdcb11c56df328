from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from accel.errors import AccelWarning, TrainingError
from accel.parts import Part
from accel.plugins.accumulate import Accumulate
from accel.plugins.adamw import AdamW
from accel.plugins.amp import AMP
from accel.plugins.clip import Clip
from accel.plugins.ema import EMA
from accel.plugins.finite_guard import FiniteGuard
from accel.plugins.lamb import LAMB
from accel.plugins.oom import OOM
from accel.plugins.prefetch import Prefetch
from accel.plugins.stream import Stream
from accel.testing import ToyResult, fit_toy
from tests.support.drill_length import LONG
from tests.support.short_memory import Hungry, Net, Where

WHERE: list[Where] = ["forward", "loss", "backward"]
BESIDE: dict[str, tuple[int, Callable[[], list[Part]]]] = {
    "alone": (1, list),
    "accumulate": (2, list),
    "clip, ema, guard": (1, lambda: [Clip(max_norm=0.1), EMA(), FiniteGuard(), AdamW()]),
    "float16": (2, lambda: [AMP(dtype="float16", force=True, init_scale=1024.0), AdamW()]),
    "lamb not in order": (1, lambda: [Prefetch(), LAMB(), Stream()]),
}


def alike(a: ToyResult, b: ToyResult) -> bool:
    """Whether two runs trained to the same bits; one of them may have evaluated in batches of another size."""
    b.metrics = a.metrics
    return a.equals(b) and all(torch.equal(x, y) for x, y in zip(a.spy.states[-1], b.spy.states[-1], strict=True))


def fit_short(hungry: Part, oom: Part, beside: list[Part], **settings: Any) -> Any:
    with pytest.warns(AccelWarning, match="oom: memory was short in update"):
        return fit_toy([hungry, oom, *beside], **settings)


@pytest.mark.filterwarnings("ignore:.*has no effect")
@pytest.mark.parametrize(
    ("where", "beside"), [*((where, "alone") for where in WHERE), *zip(WHERE * 2, [*BESIDE][1:], strict=False)]
)
@pytest.mark.slow
def test_the_result_is_that_of_the_smaller_size_from_the_start(where: Where, beside: str) -> None:
    steps, others = BESIDE[beside]
    hungry = Hungry(where=where)
    window = [Accumulate(steps=steps)] if steps > 1 else []
    overflow = [5, 6, 7, 8] if beside == "float16" else []  # of the calls that compute a loss
    short = fit_short(hungry, OOM(), [*others(), *window], overflow=overflow if where == "forward" else [])
    small = fit_toy([*others(), Accumulate(steps=2 * steps)], batch_size=2, overflow=overflow if where == "forward" else [])
    assert hungry.failed == 1
    assert alike(short, small)


@pytest.mark.parametrize("where", ["backward", *["loss"] * LONG])
@pytest.mark.slow
def test_it_is_so_when_every_other_update_fails(where: Where) -> None:
    hungry = Hungry(where=where)
    short = fit_short(hungry, OOM(grow_after=1), [Accumulate(steps=2), AdamW()])
    assert hungry.failed > 4
    assert alike(short, fit_toy([Accumulate(steps=4), AdamW()], batch_size=2))


@pytest.mark.parametrize("where", ["forward", "backward"])
@pytest.mark.slow
def test_buffers_and_random_numbers_go_back_and_items_weigh_right(where: Where) -> None:
    def state(**run: Any) -> dict[str, Tensor]:
        return Net(**run, watch=()).fit().model.state_dict()

    hungry = Hungry(where=where)
    with pytest.warns(AccelWarning, match="oom: memory was short"):
        short = state(plugins=[hungry, OOM(grow_after=2)], batch_size=4)
    small = state(plugins=[Accumulate(steps=2)], batch_size=2)
    assert hungry.failed > 1
    assert float(small["3.calls"]) == 11
    assert all(torch.equal(short[name], small[name]) for name in small)


def test_draws_of_python_and_numpy_are_watched_and_then_copied_only_where_there_are_any() -> None:
    from accel.device.step_snapshot import PROBED_UPDATES, StepSnapshot

    before = StepSnapshot(nn.Linear(1, 1), torch.device("cpu"))
    for _ in range(PROBED_UPDATES + 1):
        before.take()
        before.discard()
    assert before.host is None
    before = StepSnapshot(nn.Linear(1, 1), torch.device("cpu"))
    for _ in range(PROBED_UPDATES + 1):
        before.take()
        random.random()
        before.discard()
    before.take()
    drawn = random.random(), float(torch.rand(()))
    before.restore()
    assert (random.random(), float(torch.rand(()))) == drawn


@pytest.mark.slow
def test_it_halves_down_to_one_sample() -> None:
    hungry = Hungry(limit=1)
    assert alike(fit_short(hungry, OOM(), []), fit_toy([Accumulate(steps=4)], batch_size=1))
    assert hungry.failed == 2


@pytest.mark.slow
def test_one_sample_that_does_not_fit_ends_the_run_in_a_sentence() -> None:
    with pytest.raises(
        TrainingError, match=r"oom: memory is short in update 1 even with one sample at a time \(CUDA out of memory\)"
    ):
        fit_toy([Hungry(limit=0), OOM()])


@pytest.mark.slow
def test_the_size_is_in_the_checkpoints(tmp_path: Path) -> None:
    small = fit_toy([Accumulate(steps=2)], batch_size=2, epochs=3)
    fit_short(Hungry(), OOM(), [], out=tmp_path / "run", stop=8, epochs=3, checkpoint_every=1)
    hungry = Hungry()
    rest = fit_toy([hungry, OOM()], resume=tmp_path / "run", epochs=3)
    assert hungry.failed == 0
    assert all(torch.equal(a, b) for a, b in zip(rest.weights, small.weights, strict=True))
    assert rest.spy.run.parts.update.summary_notes() == ["memory was short in 1 update: from then on at most 2 samples at a time"]


@pytest.mark.slow
def test_a_run_that_ended_without_it_goes_on_with_it(tmp_path: Path) -> None:
    with pytest.raises(torch.OutOfMemoryError):
        fit_toy([Hungry(since=8)], out=tmp_path / "run")
    fit_short(Hungry(), OOM(), [], resume=tmp_path / "run")


@pytest.mark.slow
def test_it_says_so_when_it_happens_and_at_the_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = "^oom: memory was short in update 3; from here on training takes at most 2 samples at a time$"
    with pytest.warns(AccelWarning, match=message) as warned:
        fit_toy([Hungry(since=2), OOM(), "progress"], out=tmp_path / "run")
    assert len(warned) == 1
    out = capsys.readouterr().out
    assert "out of memory" in out
    assert "memory was short in 1 update: from then on at most 2 samples at a time\n" in out
    assert '"memory was short in 1 update' in (tmp_path / "run/summary.json").read_text()
