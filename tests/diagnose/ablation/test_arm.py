"""Whatever an arm is asked, it is afterwards where it was: each window and each training begins where the run does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
import torch

from accel.device.cpu import waiting_threads
from accel.diagnose.ablation.arm import Arm
from accel.diagnose.ablation.trial_request import trial_request
from accel.parts import Progress
from accel.parts.run import Run
from accel.plugins import EMA, AdamW, OneCycle, Prune
from accel.system.stop_signals import StopSignals
from tests.support.worked_time import Timed, time_by_work

pytestmark = pytest.mark.usefixtures("forked_commands")


@pytest.fixture
def arm(monkeypatch: pytest.MonkeyPatch) -> Iterator[Arm]:
    time_by_work(monkeypatch)
    trainer = Timed(plugins=[AdamW(), OneCycle(max_lr=0.1), EMA()], watch=(), batch_size=4, seed=3, device="cpu", epochs=3)
    with StopSignals() as signals, closing(Arm(trial_request(trainer._request(), {"adamw", "onecycle", "ema"}), signals)) as arm:
        yield arm


def state(run: Run) -> list[torch.Tensor]:
    tensors = [*run.unwrapped_model.state_dict().values(), torch.get_rng_state()]
    return [tensor.clone() for tensor in tensors]


def test_it_is_where_it_was(arm: Arm) -> None:
    run, before = arm.run, state(arm.run)
    for question in (arm.calibrate, arm.window, arm.peak_bytes, lambda: arm.loss_after(7)):
        question()
        assert run.progress == Progress()
        assert all(map(torch.equal, state(run), before))
        assert run.parts.optim.state_dict()["state"] == {}


def test_what_changes_the_model_before_the_first_update_is_in_each_window() -> None:
    trainer = Timed(plugins=[AdamW(), Prune(mode="weights", end=0)], watch=(), batch_size=4, seed=3, device="cpu", epochs=3)
    with StopSignals() as signals, closing(Arm(trial_request(trainer._request(), {"adamw", "prune"}), signals)) as arm:
        before = state(arm.run)
        weight = arm.run.unwrapped_model.get_parameter("0.weight")
        assert float((weight == 0).float().mean()) == 0.5
        arm.loss_after(7)
        assert all(map(torch.equal, state(arm.run), before))
        with arm.trial() as update:
            update()
            assert float((weight == 0).float().mean()) == 0.5, "they stay zeros"


def test_the_same_updates_from_the_same_state(arm: Arm) -> None:
    rates = []
    for _ in range(2):
        with arm.trial() as update:
            for _ in range(4):
                update()
                rates.append(arm.run.parts.optim.rate)
    assert rates[:4] == rates[4:]
    assert len(set(rates)) == 4, "the schedule goes on within a trial"
    assert arm.loss_after(9) == arm.loss_after(9)
    assert arm.loss_after(9) != arm.loss_after(3)


def test_a_window_has_the_seconds_of_its_samples(arm: Arm) -> None:
    arm.calibrate()
    assert arm.update_seconds == 1.0
    assert arm.update_samples == pytest.approx(22 / 6)
    assert arm.window() == pytest.approx(1 / 4), "a second for four samples"


@pytest.mark.parametrize(("crowded", "sleeps"), [(-1.0, True), (1e9, False)])
def test_threads_that_wait_sleep_in_windows_where_the_loop_would_let_them(
    arm: Arm, monkeypatch: pytest.MonkeyPatch, crowded: float, sleeps: bool
) -> None:
    monkeypatch.setattr(waiting_threads, "CROWDED", crowded)  # threads waited for cores in any run, or in none
    waiting, slept = arm.run.parts.backend.waiting, []
    assert waiting is not None
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        if not waiting.switches:
            pytest.skip("the threads of this torch are not GNU's")
        arm.calibrate()
        update = arm.make_update
        monkeypatch.setattr(arm, "make_update", lambda windows: slept.append(waiting.released is not None) or update(windows))
        arm.window()
    finally:
        torch.set_num_threads(before)
    assert set(slept) == {sleeps}
    assert waiting.released is None, "only in the windows: other runs share the process"
