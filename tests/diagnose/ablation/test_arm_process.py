"""An arm in a process of its own answers, and ends when nobody asks any more, however that comes."""

from __future__ import annotations

import os
import signal
import sys
from functools import partial
from multiprocessing import Pipe
from pathlib import Path

import pytest

from accel.diagnose.ablation.arm_process import ArmProcess, serve
from accel.errors import ConfigError
from accel.plugins import AMP, Backend
from accel.testing.toy_run import Toy
from tests.support.forked_process import run_forked
from tests.support.waiting import wait_until


def toy(*plugins: str) -> Toy:
    return Toy(plugins=[*plugins, Backend(threads=1)], watch=(), batch_size=4, device="cpu")


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.slow  # a new process imports torch
def test_it_answers_and_ends_if_the_one_that_asks_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "answers"

    def ask() -> None:
        process = ArmProcess(toy, frozenset({"backend"}))
        process.calibrate()
        file.write_text(f"{process.process.pid} {process.window()}")
        os.kill(os.getpid(), signal.SIGKILL)

    run_forked(ask)
    pid, seconds = file.read_text().split()
    assert float(seconds) > 0
    wait_until(lambda: is_gone(int(pid)), "the process ends")


def test_a_refusal_is_the_sentence_of_the_other_process() -> None:
    here, there = Pipe()
    serve(there, partial(toy, "adamw", "lamb"), frozenset({"adamw", "lamb"}), list(sys.path))
    error, value = here.recv()
    assert "both provide Optim" in error
    assert value is None


def test_it_ends_when_nobody_asks_any_more() -> None:
    here, there = Pipe()
    for question in ("peak_bytes", "no such question"):
        here.send((question, ()))
    serve(there, toy, frozenset({"backend"}), list(sys.path))
    assert here.recv() == ("", None)
    assert here.recv()[1] > 0
    assert here.recv()[0].startswith("the run fails with it (AttributeError: ")
    here, there = Pipe()
    here.close()
    serve(there, toy, frozenset(), list(sys.path))


def test_what_cannot_be_sent_is_told() -> None:
    unsendable = Toy(plugins=[AMP()], watch=(), device="cpu", collate=lambda batch: batch)
    with pytest.raises(ConfigError, match="cannot be sent to a process of its own"):
        ArmProcess(partial(_itself, unsendable), frozenset())


def _itself(trainer: Toy) -> Toy:
    return trainer
