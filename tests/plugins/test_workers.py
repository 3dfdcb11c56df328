from __future__ import annotations

import gc
import multiprocessing as mp
import os
import signal
import time
import tracemalloc
import warnings
from contextlib import suppress
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import TensorDataset

from accel.cli.train_command import main
from accel.data.batches.make_batches import make_batches
from accel.data.batches.mapped import MapBatches
from accel.data.loaders.worker_pool import WorkerPool as Processes
from accel.errors import AccelWarning, ConfigError, TrainingError
from accel.plugins.workers import Workers
from accel.system.machine import cores
from accel.testing import fit_toy
from tests.support.hung_workers import hang, time_out_when_hung
from tests.support.sample_datasets import Drawn, Filled, Wide, md5
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow


class Bad(Drawn):
    """Sample 9 makes trouble: always, or once if `once` is a file to remember it by. `folder` is where workers that hang say so."""

    def __init__(self, trouble: str, once: Path | None = None, folder: Path | None = None) -> None:
        self.trouble, self.once, self.folder = trouble, once, folder

    def sample(self, index: int, rng: Any) -> Any:
        if index == 9 and not (self.once and self.once.exists()):
            if self.once:
                self.once.touch()
            if self.trouble == "raise":
                raise KeyError("no such thing")
            if self.trouble == "hang":
                assert self.folder is not None
                hang(self.folder)
            if self.trouble == "exit":
                os._exit(3)
            os.kill(os.getpid(), signal.SIGKILL)
        return super().sample(index, rng)


def processes(data: Any, count: int = 2, timeout: float = 60.0, start: str | None = None) -> Processes:
    batches = make_batches(data, 4, seed=3, shuffle=True)
    assert isinstance(batches, MapBatches)
    return Processes([batches], count, 2, timeout, start)


def descriptors() -> set[str]:
    gc.collect()
    links = Path("/proc/self/fd").iterdir()
    actual = set()
    for link in links:
        with suppress(FileNotFoundError):  # the one that lists them
            actual.add(f"{link.name} {os.readlink(link)}")
    return actual


@pytest.fixture(autouse=True)
def nothing_is_left() -> Any:
    resource_tracker.ensure_running()  # Python's own, one for a whole process, and only for spawned ones
    before = descriptors()
    yield
    assert mp.active_children() == []
    assert descriptors() <= before


def test_a_worker_that_is_killed_is_replaced_and_the_order_stays(tmp_path: Path) -> None:
    plain = md5(make_batches(Drawn(), 4, seed=3, shuffle=True).epoch(0))
    for trouble in ("kill", "exit"):
        workers = processes(Bad(trouble, tmp_path / trouble))
        with pytest.warns(AccelWarning, match=r"(killed by SIGKILL|ended with exit code 3) over sample 9 \(batch \d of epoch 1\)"):
            assert md5(workers.batches(0, 0, 0)) == plain
        workers.close()


def test_one_that_dies_again_ends_the_run_by_name() -> None:
    workers = processes(Bad("kill"))
    with (
        pytest.warns(AccelWarning, match="begun anew"),
        pytest.raises(TrainingError, match=r"a worker was killed by SIGKILL over sample 9 \(batch \d of epoch 1\), for the second"),
    ):
        md5(workers.batches(0, 0, 0))
    workers.close()


def test_one_that_hangs_is_named_killed_and_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = md5(make_batches(Drawn(), 4, seed=3, shuffle=True).epoch(0))
    workers = processes(Bad("hang", tmp_path / "once", tmp_path), timeout=0.8)
    time_out_when_hung(workers, tmp_path, monkeypatch)
    with pytest.warns(AccelWarning, match=r"no answer for 0.8 seconds over sample 9 \(batch \d of epoch 1\); begun anew"):
        assert md5(workers.batches(0, 0, 0)) == plain
    workers.close()


def test_one_that_hangs_again_ends_the_run_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workers = processes(Bad("hang", folder=tmp_path), timeout=0.8)
    time_out_when_hung(workers, tmp_path, monkeypatch)
    begun = {worker.process.pid for worker in workers.workers}
    with (
        pytest.warns(AccelWarning, match="begun anew"),
        pytest.raises(TrainingError, match=r"no answer for 0.8 seconds over sample 9 .* second time.*plugins.workers.timeout=null"),
    ):
        md5(workers.batches(0, 0, 0))
    alive_now = {worker.process.pid for worker in workers.workers if worker.process.is_alive()}
    assert len(begun & alive_now) == 1, "the one that hung was killed, and so was the one in its place"
    assert len(alive_now) == 1
    workers.close()


def test_killed_from_outside_at_any_time_the_batches_stay() -> None:
    """As the system does to a process that takes too much memory, and not only over one sample."""
    plain = md5(make_batches(Drawn(), 4, seed=3, shuffle=True).epoch(0))
    for at in range(len(plain)):
        workers = processes(Drawn())
        batches, actual = workers.batches(0, 0, 0), []
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for number, batch in enumerate(batches):
                actual += md5([batch])
                if number == at:
                    victim = workers.workers[(at + 1) % 2].process
                    assert victim.pid is not None
                    os.kill(victim.pid, signal.SIGKILL)
                    victim.join()
        assert actual == plain
        assert all("was killed by SIGKILL" in str(warning.message) for warning in caught)
        workers.close()


def test_an_exception_passes_through_with_its_sample() -> None:
    workers = processes(Bad("raise"))
    with pytest.raises(KeyError, match="no such thing") as raised:
        md5(workers.batches(0, 0, 0))
    (note,) = raised.value.__notes__
    assert note.startswith("workers: raised over sample 9 (batch ")
    assert "in sample\n" in note, "the worker's traceback"
    assert next(workers.batches(0, 1, 0)), "and the workers go on"
    workers.close()


class Unpicklable(Drawn):
    class Error(Exception):
        def __init__(self, one: int, two: int) -> None:
            super().__init__(f"{one} is not {two}")

    def sample(self, index: int, rng: Any) -> Any:
        raise self.Error(1, 2)


def test_an_exception_that_cannot_travel_is_told() -> None:
    workers = processes(Unpicklable())
    with pytest.raises(RuntimeError, match="1 is not 2"):
        md5(workers.batches(0, 0, 0))
    workers.close()


class Signals(Drawn):
    def sample(self, index: int, rng: Any) -> Any:
        return [int(signal.getsignal(number) == signal.SIG_DFL) for number in (signal.SIGTERM, signal.SIGUSR1)]


def test_a_worker_has_no_handler_of_the_run() -> None:
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        workers = processes(Signals())
        assert all(bool(flags.all()) for batch in workers.batches(0, 0, 0) for flags in batch)
        workers.close()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_workers_end_with_the_process_that_began_them(tmp_path: Path) -> None:
    def parent() -> None:
        workers = processes(Drawn())
        (tmp_path / "pids").write_text(" ".join(str(worker.process.pid) for worker in workers.workers))
        next(workers.batches(0, 0, 0))
        os.kill(os.getpid(), signal.SIGKILL)

    process = mp.get_context("fork").Process(target=parent)
    process.start()
    process.join()
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    process.close()
    wait_until(lambda: not any(alive(pid) for pid in pids), "the workers to end")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_stopped_early_and_begun_anew() -> None:
    plain = md5(make_batches(Drawn(), 4, seed=3, shuffle=True).epoch(1))
    workers = processes(Drawn())
    batches = workers.batches(0, 0, 0)
    next(batches)
    del batches
    assert md5(workers.batches(0, 1, 0)) == plain
    workers.close()


def test_spawned_workers_give_the_same_and_say_what_cannot_be_sent() -> None:
    data = [make_batches(kind(), 4, seed=3, shuffle=True) for kind in (Drawn, Filled)]
    workers = Processes(data, 1, 2, 60.0, "spawn")  # type: ignore[arg-type]
    for which, plain in enumerate(data):
        assert md5(workers.batches(which, 0, 0)) == md5(plain.epoch(0))
    workers.close()

    class Local(Drawn): ...

    with pytest.raises(ConfigError, match="cannot be sent to a worker process"):
        processes(Local(), start="spawn")


class Slow(TensorDataset):
    """Not indexed at once."""


def test_evaluation_is_read_by_the_same_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    begin = Processes.start_worker
    monkeypatch.setattr(Processes, "start_worker", lambda self, index: begun.append(1) or begin(self, index))
    monkeypatch.setattr("accel.testing.toy_run.TensorDataset", Slow)
    plain, with_workers = fit_toy([], epochs=3), fit_toy([Workers(count=2)], epochs=3)
    assert plain.equals(with_workers)
    assert len(begun) == 2


def test_what_it_computes_and_where_it_has_no_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.warns(AccelWarning, match="workers has no effect: the data is in memory"):
        fit_toy([Workers()])
    monkeypatch.setattr("accel.testing.toy_run.TensorDataset", Slow)
    run = fit_toy([Workers()]).spy.run
    assert run.plan.facts["workers"] == f"{min(cores(), 8)} = one for each core, at most 8"


def test_a_mistyped_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["+plugins=[workers]", "plugins.workers.count=many"]) == 2
    assert "workers.count must be a whole number from 1, or auto, not 'many'" in capsys.readouterr().err


def test_batches_are_shared_and_not_copied() -> None:
    workers = processes(Drawn())
    x, _ = next(workers.batches(0, 0, 0))
    assert x.is_shared()
    assert isinstance(x, torch.Tensor)
    del x
    workers.close()


def filled(data: Any) -> Processes:
    batches = make_batches(data, 4, seed=3, shuffle=True)
    assert isinstance(batches, MapBatches)
    return Processes([batches], 2, 2, 60.0)


def test_samples_are_written_where_they_stay() -> None:
    plain = md5(make_batches(Filled(), 4, seed=3, shuffle=True).epoch(0))
    workers = filled(Filled())
    (slots,) = workers.pools
    assert slots is not None
    numbers = {slots.slot_number(x): md5([[x, y]])[0] for x, y in list(workers.batches(0, 0, 0))}
    assert list(numbers.values()) == plain
    assert slots.allocated == len(numbers), "each of those that are held has one of its own"
    workers.close()


def test_nothing_is_allocated_for_a_batch_after_the_first_few() -> None:
    batches = make_batches(Wide(), 8, seed=3)
    workers = Processes([batches], 2, 2, 60.0)  # type: ignore[list-item]
    (slots,) = workers.pools
    assert slots is not None
    for _ in workers.batches(0, 0, 0):
        pass
    made = slots.allocated
    tracemalloc.start()
    for _ in workers.batches(0, 1, 0):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert slots.allocated == made <= 2 * 2 + 1, "those asked for, and the one that is used"
    assert peak < slots.bytes, "all 50 batches of an epoch together take less than one batch"
    workers.close()


class Torn(Filled):
    """Sample 9 is written, and then the process is killed, once."""

    def __init__(self, once: Path) -> None:
        self.once = once

    def fill(self, index: int, rng: Any, out: Any) -> int:
        if index == 9 and not self.once.exists():
            out[...] = -1
            self.once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().fill(index, rng, out)


def test_one_that_is_killed_while_it_writes_harms_no_batch(tmp_path: Path) -> None:
    plain = md5(make_batches(Filled(), 4, seed=3, shuffle=True).epoch(0))
    workers = filled(Torn(tmp_path / "once"))
    with pytest.warns(AccelWarning, match="killed by SIGKILL over sample 9"):
        held = list(workers.batches(0, 0, 0))
    assert md5(held) == plain
    assert md5(workers.batches(0, 1, 0)) == md5(make_batches(Filled(), 4, seed=3, shuffle=True).epoch(1))
    assert md5(held) == plain, "nor later"
    workers.close()


class Waiting(Filled):
    """Sample 9 is written when the file `go` is there."""

    def __init__(self, go: Path) -> None:
        self.go = go

    def fill(self, index: int, rng: Any, out: Any) -> int:
        while index == 9 and not self.go.exists():
            time.sleep(0.001)
        return super().fill(index, rng, out)


def test_memory_that_may_still_be_written_is_nobody_elses(tmp_path: Path) -> None:
    plain = make_batches(Filled(), 4, seed=3)
    data = make_batches(Waiting(tmp_path / "go"), 4, seed=3)
    workers = Processes([data], 1, 3, 60.0)  # type: ignore[list-item]
    (slots,) = workers.pools
    assert slots is not None
    batches = workers.batches(0, 0, 0)
    first = next(batches)[0]
    del batches
    writing = {task.slot for task in workers.workers[0].buffers}
    assert len(writing) == 2, "the second and the third batch, of which one has sample 9 in it"
    taken = [slots.borrow(4) for _ in range(4)]
    assert not writing & {slots.slot_number(out) for out in [first, *taken]}
    del first, taken
    again = workers.batches(0, 1, 0)
    (tmp_path / "go").touch()
    assert md5(again) == md5(plain.epoch(1))
    assert not workers.workers[0].buffers
    workers.close()


def test_nothing_is_left_of_a_process_that_is_killed() -> None:
    def parent() -> None:
        workers = filled(Filled())
        held = next(workers.batches(0, 0, 0))
        os.kill(os.getpid(), signal.SIGKILL)
        del held

    process = mp.get_context("fork").Process(target=parent)
    process.start()
    process.join()
    pid = process.pid
    process.close()
    assert not [name for name in os.listdir("/dev/shm") if f"_{pid}_" in name]
