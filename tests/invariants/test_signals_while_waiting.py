"""A signal while a run waits for its data: it does not wait on, saves what it has done, and resumed it ends with the same bits."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread, current_thread, main_thread
from time import sleep
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributed import TCPStore
from torch.utils.data import DataLoader, Dataset

from accel import Interrupted, Trainer
from accel.data.sampling import permutation
from accel.parts import Watch
from accel.plugins import Accumulate, AdamW, Prefetch, Threads, Workers
from accel.plugins.metrics import Metrics
from accel.system.stop_signals import StopSignals
from tests.support.rank_processes import ROOT
from tests.support.waiting import DEADLINE

SAMPLES, BATCH, DONE = 20, 4, 2
"""DONE updates are made when the third batch never comes."""


class Rows(Dataset[tuple[Tensor, int]]):
    """Pictures of noise. Reading number `stuck` takes a minute, and tells the run to stop, where the run itself reads.

    Args:
        stuck: the number of the sample; or, where it is negative, minus the count of samples read before it.
        draws: whether a sample draws from all the global generators.
    """

    def __init__(self, stuck: int | None, draws: bool = False) -> None:
        self.stuck, self.draws = stuck, draws
        self.reads = 0
        self.pid = os.getpid()
        self.free, self.waited = Event(), Event()

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        noise = random.random() + float(np.random.rand()) + torch.rand(3) if self.draws else torch.zeros(3)
        if self.stuck is not None and self.stuck in (index, -self.reads):
            if current_thread() is main_thread() and os.getpid() == self.pid:
                os.kill(self.pid, signal.SIGTERM)
            self.free.wait(DEADLINE)
            self.waited.set()
        self.reads += 1
        return torch.linspace(-1, 1, 3) * index + noise, index % 2


@dataclass(eq=False)
class Asks(Watch):
    """Where others read ahead: sends the signal as soon as the loop waits for what they are stuck at."""

    def begin(self, run: Any) -> None:
        def ask() -> None:
            while not (run.progress.step == DONE and run.signals.immediate):
                sleep(0.001)
            os.kill(os.getpid(), signal.SIGTERM)

        Thread(target=ask, daemon=True).start()


class Waits(Trainer):
    """Trains with dropout, which draws as it goes, on rows that may get stuck; evaluates on others."""

    aside = ("stuck", "held_out")

    def __init__(
        self, stuck: int | None = None, held_out: int | None = None, draws: bool = False, own: bool = False, **run: Any
    ) -> None:
        super().__init__(epochs=2, batch_size=None if own else BATCH, watch=[Metrics(curves=False)], **run)
        self.rows, self.others, self.own = Rows(stuck, draws), Rows(held_out), own

    def model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 2))

    def data(self, split: str) -> Any:
        if split != "train":
            return self.others
        if self.own:
            generator = torch.Generator().manual_seed(3)
            return DataLoader(self.rows, BATCH, shuffle=True, generator=generator, num_workers=0)
        return self.rows

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return nn.functional.cross_entropy(model(batch[0]), batch[1])


ORDER = permutation(SAMPLES, 0, 0).tolist()
WAYS: dict[str, tuple[int, dict[str, Any], Callable[[], list[Any]]]] = {
    "plain": (ORDER[DONE * BATCH + 1], {}, list),
    "plain, drawing": (ORDER[DONE * BATCH + 1], {"draws": True}, list),
    "a DataLoader": (-DONE * BATCH - 1, {"own": True, "draws": True}, list),
    "accumulate": (ORDER[2 * DONE * BATCH], {}, lambda: [Accumulate(steps=2)]),
    "threads": (ORDER[DONE * BATCH + 1], {}, lambda: [Threads(count=2)]),
    "workers": (ORDER[DONE * BATCH + 1], {}, lambda: [Workers(count=2)]),
    "prefetch": (ORDER[DONE * BATCH + 1], {}, lambda: [Prefetch()]),
}


def ends_the_same(ways: dict[str, Any], plugins: list[Any], whole: Any, out: Path) -> None:
    rest = Waits(**ways, plugins=plugins, resume=out).fit()
    pairs = zip(rest.model.parameters(), whole.model.parameters(), strict=True)
    assert all(torch.equal(actual, theirs) for actual, theirs in pairs)
    assert rest.history == whole.history
    assert (out / "metrics.jsonl").read_bytes() == (out.parent / "whole/metrics.jsonl").read_bytes()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.slow
def test_the_wait_is_given_up_and_nothing_of_it_is_consumed(way: str, tmp_path: Path) -> None:
    stuck, ways, plugins = WAYS[way]
    whole = Waits(**ways, plugins=[AdamW(), *plugins()], out=tmp_path / "whole").fit()
    asks = [] if "plain" in way or "Loader" in way or way == "accumulate" else [Asks()]
    trainer = Waits(stuck, **ways, plugins=[AdamW(), *plugins(), *asks], out=tmp_path / "run")
    try:
        with pytest.raises(Interrupted) as stopped:
            trainer.fit()
        assert (stopped.value.update, stopped.value.saved) == (DONE, str(tmp_path / "run"))
        assert not trainer.rows.waited.is_set(), "it was not waited for"
    finally:
        trainer.rows.free.set()  # a thread that was left behind ends here
    ends_the_same(ways, [AdamW(), *plugins()], whole, tmp_path / "run")


def test_in_evaluation_too(tmp_path: Path) -> None:
    whole = Waits(out=tmp_path / "whole").fit()
    trainer = Waits(held_out=14, out=tmp_path / "run")  # after what is tried before the first update
    with pytest.raises(Interrupted) as stopped:
        trainer.fit()
    assert stopped.value.update == SAMPLES // BATCH
    assert not trainer.others.waited.is_set()
    ends_the_same({}, [], whole, tmp_path / "run")


@pytest.mark.slow
def test_before_the_first_update_and_where_a_run_goes_on(tmp_path: Path) -> None:
    whole = Waits(out=tmp_path / "whole").fit()
    with pytest.raises(Interrupted, match="stopped by SIGTERM while it was starting"):
        Waits(ORDER[0], out=tmp_path / "run").fit()
    assert not (tmp_path / "run").exists()
    with pytest.raises(Interrupted):
        Waits(ORDER[DONE * BATCH], out=tmp_path / "run").fit()
    with pytest.raises(Interrupted, match=f"stopped by SIGTERM after update {DONE}"):
        Waits(ORDER[DONE * BATCH], resume=tmp_path / "run").fit()
    ends_the_same({}, [], whole, tmp_path / "run")


def test_what_draws_only_now_and_then_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Python's generator stood before the wait is not known then: the update is made, as its numbers were drawn for it."""
    monkeypatch.setattr("accel.device.data_wait.PROBED_UPDATES", 0)
    whole = Waits(draws=True, own=True, out=tmp_path / "whole").fit()
    trainer = Waits(-DONE * BATCH - 1, draws=True, own=True, out=tmp_path / "run")
    trainer.rows.free.set()
    with pytest.raises(Interrupted) as stopped:
        trainer.fit()
    assert stopped.value.update == DONE + 1
    assert trainer.rows.waited.is_set()
    ends_the_same({"draws": True, "own": True}, [], whole, tmp_path / "run")


SCRIPT = """
import time
from accel.plugins import Prefetch, Threads
from tests.invariants.test_signals_while_waiting import DONE, ORDER, BATCH, Asks, Waits
trainer = Waits(ORDER[DONE * BATCH], plugins=[Threads(count=2), Prefetch(), Asks()], out="run")
trainer.rows.free.wait = time.sleep
trainer.fit()
"""


@pytest.mark.slow
def test_the_process_ends_although_a_thread_hangs(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        timeout=DEADLINE,
    )  # fmt: skip
    assert done.returncode == 75, done.stderr
    assert done.stderr == ""


@pytest.mark.slow
def test_while_it_waits_for_a_rank_that_never_comes(tmp_path: Path, forked_commands: None) -> None:
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=DEADLINE))
    env = {
        **os.environ, "PYTHONPATH": str(ROOT), "WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
    }  # fmt: skip
    imports = "from accel.plugins import DDP; from tests.invariants.test_signals_while_waiting import Waits"
    script = f"{imports}; Waits(plugins=[DDP()], out='run').fit()"
    run = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True)
    try:
        store.get("accel/here/0")  # it has come, and waits for the other
        run.terminate()
        assert run.communicate(timeout=DEADLINE) == (None, "")
        assert run.returncode == 75
    finally:
        run.kill()
        run.wait()
    assert not (tmp_path / "run").exists()


class Late(StopSignals):
    """A signal comes when an item is there and waiting ends, before anybody knows."""

    @property
    def immediate(self) -> bool:
        return self.on

    @immediate.setter
    def immediate(self, on: bool) -> None:
        if not on and getattr(self, "armed", False):
            self.armed = False
            self.handle(signal.SIGTERM, None)
        self.on = on


@pytest.mark.parametrize("items", [[], [1, 2]])
def test_a_signal_in_the_last_instant_of_a_wait_is_one_in_the_wait(items: list[int]) -> None:
    signals = Late()
    signals.armed = True
    assert list(signals.interruptible(iter(items))) == []
    assert signals.interrupted
    assert not signals.immediate
