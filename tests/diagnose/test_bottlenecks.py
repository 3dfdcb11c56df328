"""Twenty bottlenecks (tests/support/bottlenecks.py), measured: each is named as the first cause of a run that has it.

`make drill` has all of them. Three that no noise hides are in the suite.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.diagnose.test_decision import CASES
from tests.support.bottlenecks import BOTTLENECKS, PURE, RANKED, diagnose
from tests.support.drill_length import LONG
from tests.support.rank_processes import shared_cases

pytestmark = pytest.mark.slow
long = pytest.mark.skipif(not LONG, reason="minutes: make drill")
QUICK = ("slow disk", "logging each update")
SECONDS = 8.0
MISNAMED = 1 / 20
"""Share of the bottlenecks that may be called something else."""


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def misnamed(ill: bool, folder: Path) -> list[str]:
    """The runs that are called something else than they should be, each with its verdict; all verdicts are printed."""
    wrong = []
    for name in BOTTLENECKS:
        place = folder / name
        place.mkdir()
        case = diagnose(name, ill, place, SECONDS)
        print(f"{name}, {'with' if ill else 'without'} it: {case.sentence}")
        if case.is_named is not ill:
            wrong.append(f"{name}: {case.sentence}")
    return wrong


@pytest.mark.parametrize("name", QUICK)
def test_a_bottleneck_that_no_noise_hides_is_named(name: str, tmp_path: Path) -> None:
    case = diagnose(name, True, tmp_path, 2.0)
    assert case.is_named, case.sentence


@long
def test_nineteen_of_twenty_bottlenecks_are_named_as_the_first_cause(tmp_path: Path) -> None:
    wrong = misnamed(True, tmp_path)
    assert len(wrong) <= MISNAMED * len(BOTTLENECKS), wrong


@long
def test_the_same_runs_without_them_are_called_something_else(tmp_path: Path) -> None:
    wrong = misnamed(False, tmp_path)
    assert len(wrong) <= MISNAMED * len(BOTTLENECKS), wrong


@long
def test_ranks_that_do_the_same_wait_for_none(tmp_path_factory: pytest.TempPathFactory) -> None:
    for result in shared_cases("tests.support.slow_rank_cases", tmp_path_factory)["alike"]:
        assert result["kind"] != "straggler-bound", result


def test_there_are_twenty_and_a_figure_stands_for_what_cannot_be_injected_here() -> None:
    assert len(BOTTLENECKS) + len(RANKED) >= 20
    assert set(PURE) <= CASES.keys()
