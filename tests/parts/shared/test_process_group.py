"""The process group in one process: what it returns, and how its end waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist

from accel.parts.shared.process_group import ProcessGroup
from accel.parts.shared.ranks import end_group as ends
from accel.parts.shared.ranks.rank_failures import RankFailures
from accel.plugins.ddp import DDP
from tests.support.single_process_group import single_process_group

CPU = torch.device("cpu")


@pytest.fixture
def group() -> Iterator[ProcessGroup]:
    with single_process_group():
        group = DDP()
        group.host, group.joined = dist.new_group(backend="gloo"), True
        yield group
        group.joined = False


def test_a_sum_under_way_is_waited_for(group: ProcessGroup) -> None:
    numbers = torch.tensor([1.0, 2.0])
    wait = group.all_reduce_async(numbers)
    total = wait()
    assert torch.equal(total, numbers)
    assert total is not numbers
    assert [group.any(True), group.any(False)] == [True, False]
    assert group.gather("x") == ["x"]


def test_a_vote_is_answered_when_its_topic_is_asked_again(group: ProcessGroup) -> None:
    rounds = [(True, False), (False, True), (False, False), (False, False)]
    answers = [(group.vote(save, "save"), group.vote(stop, "stop")) for save, stop in rounds]
    assert answers == [(False, False), (True, False), (False, True), (False, False)]


def test_who_is_alone_answers_itself() -> None:
    alone = DDP()
    assert [alone.any(True), alone.any(False), alone.vote(True), alone.vote(False)] == [True, False, True, False]
    assert alone.gather(3) == [3]
    number = torch.tensor(2.0)
    assert alone.all_reduce_async(number)() is number


@pytest.mark.parametrize("backend", ["auto", "gloo"])
def test_a_group_that_carries_the_tensors_is_used(backend: Any) -> None:
    with single_process_group():
        assert DDP(backend=backend).join(CPU) == CPU


class Clock:
    """A clock that moves by what is slept."""

    def __init__(self) -> None:
        self.now, self.sleeps = 1000.0, 0

    def sleep(self, seconds: float) -> None:
        self.now, self.sleeps = self.now + seconds, self.sleeps + 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(ends, "monotonic", lambda: clock.now)
    monkeypatch.setattr(ends, "sleep", clock.sleep)
    return clock


@pytest.mark.parametrize(("busy", "looks"), [([1, 1, 0, 0, 0], 4), ([0, 1, 0, 0, 0], 4), ([0, 0, 0], 2)])
def test_threads_must_rest_twice_in_a_row(busy: list[int], looks: int, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    left = list(busy)
    monkeypatch.setattr(ends, "busy_threads", lambda: left.pop(0))
    ends.wait_for_threads()
    assert len(busy) - len(left) == looks
    assert clock.sleeps == looks, "a thread gets Python's lock before each look"


def test_threads_that_never_rest_are_waited_for_so_long(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ends, "busy_threads", lambda: 1)
    ends.wait_for_threads(0.1)
    assert clock.now == pytest.approx(1000.1, abs=0.0015)


@pytest.mark.parametrize("after", [0, 3, None])
def test_the_last_vote_is_waited_for(after: int | None, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ends, "wait_for_threads", lambda: None)
    failures: Any = SimpleNamespace(
        leave=lambda: None, published=False, lost_peer=False, wait_until_all_leave=lambda seconds, give_up: True
    )
    vote = SimpleNamespace(is_completed=lambda: after is not None and clock.sleeps >= after)
    stop: Callable[[], bool] = lambda: False  # noqa: E731
    ends.end_group(object(), False, failures, (vote, None), stop)
    if after is None:
        assert clock.now == pytest.approx(1000.0 + ends.GRACE, abs=0.0015)
    else:
        assert clock.sleeps == after


@pytest.mark.parametrize("text", ["gloo: Connection closed by peer", "something else"])
def test_a_rank_that_lost_another_says_so_to_nobody(text: str) -> None:
    failures = RankFailures(dist.HashStore(), 0, 2)
    with pytest.raises(RuntimeError, match=text), failures.shared(give_up=lambda: True):
        raise RuntimeError(text)
    lost = text.startswith("gloo")
    assert failures.lost_peer == lost
    assert failures.published == (not lost)
