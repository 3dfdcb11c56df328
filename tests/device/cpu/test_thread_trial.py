import pytest
import torch

from accel.device.cpu import thread_trial
from accel.device.cpu.thread_trial import describe_times, fewest_near_best, time_threads


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread_trial, "TRIAL_SECONDS", 0.0)
    monkeypatch.setattr(thread_trial, "TINY", 1e9)  # however busy the machine is
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    yield  # type: ignore[misc]
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("clock")
def test_powers_of_two_and_all_of_them_take_turns() -> None:
    seen: list[int] = []
    times = time_threads(lambda: seen.append(torch.get_num_threads()))
    assert set(times) == {1, 2, 3} == set(seen)
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("clock")
def test_long_updates_and_single_threads_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread_trial, "TINY", 0.0)
    assert time_threads(lambda: None) == {}
    monkeypatch.setattr(thread_trial, "TINY", 1.0)
    torch.set_num_threads(1)
    assert time_threads(lambda: None) == {}


@pytest.mark.usefixtures("clock")
def test_threads_are_put_back_after_an_error() -> None:
    calls = iter(range(100))

    def update() -> None:
        if next(calls) == 4:
            raise RuntimeError("an update")

    with pytest.raises(RuntimeError, match="an update"):
        time_threads(update)
    assert torch.get_num_threads() == 3


def test_the_fewest_that_are_as_fast_are_taken() -> None:
    assert fewest_near_best({1: 1.04, 2: 1.0, 4: 1.0}) == 1
    assert fewest_near_best({1: 1.5, 2: 1.0, 4: 0.97}) == 2
    assert describe_times({1: 0.001, 2: 0.002}) == "1, measured: 1 took 1 ms, 2 took 2 ms an update"
