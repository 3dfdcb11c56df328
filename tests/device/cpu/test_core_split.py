"""Numbers of threads and of readers are chosen together, and the run is otherwise what it was."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import TensorDataset

from accel.data.loaders import autotune
from accel.device.cpu import core_split
from accel.device.cpu.core_split import Split, describe_splits, is_worth_a_trial, leanest_near_best, time_splits
from accel.parts import Loader
from accel.plugins.backend import Backend
from accel.plugins.threads import Threads
from accel.plugins.workers import Workers
from accel.testing import fit_toy
from tests.support.drill_length import LONG
from tests.support.sample_datasets import unfinished_readers


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(core_split, "LONG", 1e9)  # however busy the machine is
    monkeypatch.setattr(core_split, "SETTLE", 1)
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


class Readers:
    """Readers and windows that count."""

    def __init__(self, windows: int = 10**6) -> None:
        self.counts: list[int] = []
        self.pairs: set[tuple[int, int]] = set()
        self.undone, self.windows = 0, windows

    @contextmanager
    def trial(self) -> Iterator[Iterator[int]]:
        try:
            yield iter(range(self.windows))
        finally:
            self.undone += 1

    def update(self, window: int) -> None:
        del window
        self.pairs.add((torch.get_num_threads(), self.counts[-1]))


def test_all_pairs_take_turns_and_all_is_put_back(threads: int) -> None:
    readers = Readers()
    times = time_splits([1, 3], readers.counts.append, readers.trial, readers.update)
    assert set(times) == readers.pairs == {(count, number) for count in range(1, threads + 1) for number in (1, 3)}
    assert readers.counts[:-1] == [1, 3] * core_split.ROUNDS
    assert readers.counts[-1] == leanest_near_best(times).readers
    assert torch.get_num_threads() == threads


@pytest.mark.usefixtures("threads")
def test_long_updates_and_too_few_windows_leave_the_last_number(monkeypatch: pytest.MonkeyPatch) -> None:
    short = Readers(windows=1)
    with pytest.raises(StopIteration):
        time_splits([1, 3], short.counts.append, short.trial, short.update)
    assert short.counts == [1, 3]
    monkeypatch.setattr(core_split, "LONG", 0.0)
    long = Readers()
    assert time_splits([1, 3], long.counts.append, long.trial, long.update) == {}
    assert (long.counts, long.undone) == ([1, 3], 1)


def test_the_leanest_that_is_about_as_fast_is_taken() -> None:
    times = {Split(1, 1): 0.002, Split(1, 2): 0.00102, Split(2, 1): 0.00101, Split(2, 2): 0.001}
    assert leanest_near_best(times) == (2, 1)
    assert describe_splits(times).startswith("2 beside 1 reader, measured: 1 beside 1 took 2 ms, 1 beside 2 took 1 ms")
    assert not is_worth_a_trial(None, [1, 2])
    assert not is_worth_a_trial(10**9, [2])
    assert not is_worth_a_trial(100, [1, 2])
    assert is_worth_a_trial(10**5, [1, 2])


class Slow(TensorDataset):
    """Not indexed at once."""


@pytest.mark.parametrize("loader", [Workers, *[Threads] * LONG])
@pytest.mark.slow
def test_the_run_is_the_same_and_goes_on_with_its_numbers(
    loader: type[Loader], threads: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(core_split, "RUN_SHARE", 0)
    monkeypatch.setattr("accel.testing.toy_run.TensorDataset", Slow)
    monkeypatch.setattr("accel.system.cpu.local_ranks.cores", lambda: 2)
    monkeypatch.setattr("accel.plugins.backend.leanest_near_best", lambda times: Split(threads, 1))
    monkeypatch.setattr(core_split, "leanest_near_best", lambda times: Split(threads, 1))
    monkeypatch.setattr("accel.plugins.backend.fewest_near_best", lambda times: threads)
    plain = fit_toy([])
    plugin: Any = loader()
    whole = fit_toy([plugin, Backend(threads="auto")])
    assert plain.equals(whole)
    assert plugin.reader_count == 1
    facts = whole.spy.run.plan.facts
    assert facts["threads"].count(" took ") == 2 * threads
    assert facts["readers" if loader is Threads else "workers"] == f"1, {autotune.BESIDE}"

    fit_toy([loader(), Backend(threads="auto")], out=tmp_path / "run", stop=4, checkpoint_every=2)
    again: Any = loader()
    assert fit_toy([again, Backend(threads="auto")], resume=tmp_path / "run").weights[0].equal(whole.weights[0])
    assert again.reader_count == 1, "as the run began"

    given: Any = type(plugin)(count=2)
    assert plain.equals(fit_toy([given, Backend(threads="auto")]))
    assert given.reader_count == 2, "what the user set is not tried"
    assert unfinished_readers() == []
