"""`doctor --apply` that is struck while it tries remedies, here or in another process, or writes: nothing is left of it."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from accel.cli.doctor import doctor_console
from accel.compare import Limits
from accel.diagnose import doctor as doctor_module
from accel.diagnose.ablation.arm import Arm
from accel.diagnose.ablation.arm_process import ArmProcess
from accel.diagnose.decision.remedies import Possible, Remedy
from accel.diagnose.decision.run_overrides import Overrides
from accel.diagnose.trials import remedy_trials
from accel.system.faults import armed
from tests.cli.test_doctor_apply import fake_diagnosis
from tests.cli.test_killed_commands import EXIT_CODES, ended
from tests.support.drill_length import LONG

WORDS = ["doctor", "--apply", "--name", "fast", "task._target_=accel.testing.toy_run.Toy", "batch_size=4", "device=cpu"]
QUICK = {("a window here", signal.SIGTERM), ("the file", signal.SIGKILL)}
"""What the suite strikes; `make drill` strikes every place with every signal. A process of its own takes seconds to start."""


def prepare(patch: pytest.MonkeyPatch, place: str, number: signal.Signals) -> None:
    """Let the command try one remedy, which is kept whatever it brings, and be struck at a place."""

    def strike() -> None:
        os.kill(os.getpid(), number)

    def struck(original: Any) -> Any:
        def call(*args: Any) -> Any:
            strike()
            return original(*args)

        return call

    plugin = "backend" if place == "a window in another process" else "clip"
    diagnosis = fake_diagnosis()
    diagnosis.remedies = [Remedy(Possible(plugin, plugin, ("compute",), overrides=Overrides((plugin,))), None, 9.0)]
    patch.setattr(doctor_module, "doctor", lambda *args, **more: diagnosis)
    patch.setattr(doctor_console, "show", lambda *args: None)
    patch.setattr(remedy_trials, "LIMITS", Limits(min_rounds=1, max_rounds=1, step=1))
    patch.setattr(remedy_trials, "decide", lambda *args: "keep")
    match place:
        case "a window here":
            patch.setattr(Arm, "window", struck(Arm.window))
        case "a window in another process":
            patch.setattr(ArmProcess, "window", struck(ArmProcess.window))
        case _:
            armed["experiment.written"] = strike


@pytest.mark.slow
@pytest.mark.parametrize("number", EXIT_CODES, ids=lambda number: number.name)
@pytest.mark.parametrize("place", ["a window here", "a window in another process", "the file"])
def test_nothing_is_left_of_it(place: str, number: signal.Signals, tmp_path: Path) -> None:
    if not LONG and (place, number) not in QUICK:
        pytest.skip("make drill")
    code, errors, left = ended(WORDS, tmp_path, lambda patch: prepare(patch, place, number))
    if place == "the file" and number is not signal.SIGKILL:  # it has been tried, and is written by the time the signal is heeded
        assert left in (set(), {"conf", "conf/experiment", "conf/experiment/fast.yaml"})
        return
    assert (code, left) == (EXIT_CODES[number], set()), errors
    assert "Traceback" not in errors


@pytest.mark.slow
def test_without_a_signal_the_file_is_there(tmp_path: Path) -> None:
    def plain(patch: pytest.MonkeyPatch) -> None:
        prepare(patch, "the file", signal.SIGKILL)
        armed.clear()

    code, errors, left = ended(WORDS, tmp_path, plain)
    assert (code, left) == (0, {"conf", "conf/experiment", "conf/experiment/fast.yaml"}), errors
