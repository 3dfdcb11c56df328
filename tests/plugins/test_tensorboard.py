from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from accel.errors import AccelWarning, ConfigError
from accel.plugins.amp import AMP
from accel.plugins.onecycle import OneCycle
from accel.plugins.tensorboard import TensorBoard
from accel.system import machine
from accel.testing import fit_toy
from accel.testing.toy_run import Toy
from tests.support.drill_length import LONG
from tests.support.forked_process import run_code

FP16 = {"dtype": "float16", "force": True}


def scalars(out: Path) -> dict[str, list[tuple[int, float]]]:
    """What tensorboard shows of a run: for each curve its steps and values."""
    events = EventAccumulator(str(out / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [(point.step, point.value) for point in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


@pytest.mark.parametrize("every", [1, 5, 64])
def test_tensorboard_reads_every_update_and_every_evaluation(every: int, tmp_path: Path) -> None:
    run = fit_toy([TensorBoard(every=every), OneCycle(max_lr=0.1)], out=tmp_path)
    actual = scalars(tmp_path)
    assert actual["train/loss"] == [(step, float(loss)) for step, loss in enumerate(run.losses, start=1)]
    schedule = run.spy.run.parts.schedule
    assert [step for step, _ in actual["train/learning_rate"]] == list(range(1, 13))
    assert [value for _, value in actual["train/learning_rate"]] == pytest.approx([schedule.lr(step) for step in range(12)])
    assert [step for step, _ in actual["val/loss"]] == [6, 12]
    assert actual["val/loss"][-1][1] == pytest.approx(run.metrics["loss"])
    assert "train/skipped" not in actual
    blocks = {1: list(range(1, 13)), 5: [5, 6, 11, 12], 64: [6, 12]}[every]
    for name in ("train/samples_per_second", "train/data_wait_percent"):
        assert [step for step, _ in actual[name]] == blocks
        assert all(value >= 0 for _, value in actual[name])


@pytest.mark.parametrize("every", [1, 4, 64])
@pytest.mark.parametrize("stop", [3, 5, 7, 11] if LONG else [5, 7])
@pytest.mark.slow
def test_a_resumed_run_goes_on_without_doubled_points(every: int, stop: int, tmp_path: Path) -> None:
    plugins = [OneCycle(max_lr=0.1), AMP(**FP16)]  # type: ignore[arg-type]
    fit_toy([TensorBoard(every=every), *plugins], out=tmp_path / "whole", checkpoint_every=2, overflow=[3])
    fit_toy([TensorBoard(every=every), *plugins], out=tmp_path / "part", checkpoint_every=2, overflow=[3], stop=stop)
    # at update 7 that is the checkpoint made before the evaluation of the first epoch, which is then made twice
    checkpoint = sorted((tmp_path / "part/checkpoints").glob("*-0000.pt" if stop == 7 else "*.pt"))[-1]
    done = stop - 1
    assert f"update-{done:08}" in checkpoint.name
    fit_toy([TensorBoard(every=every), *plugins], resume=checkpoint, checkpoint_every=2, overflow=[3 - done])

    whole, part = scalars(tmp_path / "whole"), scalars(tmp_path / "part")
    assert list(whole) == list(part)
    for name in whole:
        if name in ("train/samples_per_second", "train/data_wait_percent"):
            steps = [step for step, _ in part[name]]
            assert steps == sorted(set(steps))
        else:
            assert str(part[name]) == str(whole[name]), name  # as text, NaN equals NaN


def test_a_fresh_run_forgets_what_an_old_one_left(tmp_path: Path) -> None:
    fit_toy([TensorBoard(every=1)], out=tmp_path, stop=4)
    fit_toy([TensorBoard(every=1)], out=tmp_path, epochs=1)
    assert [step for step, _ in scalars(tmp_path)["train/loss"]] == [1, 2, 3, 4, 5, 6]


def test_an_error_loses_nothing(tmp_path: Path) -> None:
    class Broken(Toy):
        def loss(self, model: Any, batch: Any) -> Any:
            loss = super().loss(model, batch)
            if self.calls == 4:
                raise RuntimeError("mine")
            return loss

    with pytest.raises(RuntimeError, match="mine"):
        Broken(plugins=[TensorBoard()], watch=(), batch_size=4, out=tmp_path).fit()
    assert [step for step, _ in scalars(tmp_path)["train/loss"]] == [1, 2, 3]


@pytest.mark.slow
def test_a_killed_process_loses_at_most_a_block(tmp_path: Path) -> None:
    code = f"""
import os, signal
from dataclasses import dataclass
from pathlib import Path
from accel.parts import Watch
from accel.plugins.tensorboard import TensorBoard
from accel.testing import fit_toy
@dataclass(eq=False)
class Kills(Watch):
    def after(self, step, loss):
        if step == 11:
            os.kill(os.getpid(), signal.SIGKILL)
fit_toy([TensorBoard(every=2), Kills()], out=Path({str(tmp_path)!r}), epochs=2)
"""
    assert run_code(code).code == -signal.SIGKILL
    steps = [step for step, _ in scalars(tmp_path)["train/loss"]]
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) >= 11 - 2 * 2


def test_skips_are_a_curve_where_there_can_be_any(tmp_path: Path) -> None:
    fit_toy([TensorBoard(), AMP(**FP16)], out=tmp_path, overflow=[3, 8])  # type: ignore[arg-type]
    actual = scalars(tmp_path)
    assert [value for _, value in actual["train/skipped"]] == [0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2]
    assert not torch.tensor(actual["train/loss"][2][1]).isfinite()


def test_without_a_directory_it_says_so() -> None:
    with pytest.warns(AccelWarning, match=r"^tensorboard has no effect: nothing is written without out=DIR"):
        fit_toy([TensorBoard()])


def test_a_dry_run_writes_nothing_and_does_not_warn(tmp_path: Path) -> None:
    fit_toy([TensorBoard()], dry_run=True)
    fit_toy([TensorBoard()], out=tmp_path / "run", dry_run=True)
    assert not list(tmp_path.iterdir())


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"tensorboard: needs the package tensorboard: pip install 'accel-train\[tensorboard\]'"):
        fit_toy([TensorBoard()], out=tmp_path)


def test_nothing_is_read_on_the_host(tmp_path: Path) -> None:
    run = fit_toy([TensorBoard(every=2), AMP(**FP16), "adamw"], out=tmp_path, overflow=[3], counts=True)  # type: ignore[arg-type]
    assert run.spy.reads.count == 0, run.spy.reads.places
