"""The table of a multirun claims a speed-up only where the ranges of two paces are apart."""

from __future__ import annotations

import io
import random
import subprocess
import sys

import pytest
from rich.console import Console

from accel.report import other_load
from accel.report.comparison import JobResult, comparison
from accel.report.other_load import OtherLoad
from accel.report.pace import Block, Pace, PaceMeter, pace_of
from accel.system.clock import BACKWARD, CHECKPOINT, COMPILE, Clock


def table(*jobs: JobResult) -> list[str]:
    console = Console(file=io.StringIO(), width=110, color_system=None)
    console.print(comparison(jobs))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined, no-any-return]


def job(overrides: str, rate: float, spread: float = 0.05, busy: float | None = 0.0, **metrics: float) -> JobResult:
    return JobResult(overrides, metrics, 1000 / rate, pace=Pace(rate, rate * (1 - spread), rate * (1 + spread), busy))


def row(lines: list[str], start: str) -> str:
    return next(line for line in lines if start in line)


def test_ranges_that_are_apart_are_a_speed_up_and_others_are_not() -> None:
    lines = table(job("plugins=[]", 100), job("plugins=[amp]", 108), job("plugins=[ema]", 150), job("plugins=[clip]", 60))
    assert row(lines, "plugins=[]").split()[-1] == "1.00x"
    assert row(lines, "plugins=[amp]").split()[-1] == "~"
    assert row(lines, "plugins=[ema]").split()[-1] == "1.50x"
    assert row(lines, "plugins=[clip]").split()[-1] == "0.60x"
    assert "1.23 to 1.83" in "\n".join(lines), "135.4 / 110.25 to 165.4 / 90.25"
    assert any(line.startswith("~: the ranges overlap") for line in lines)


@pytest.mark.parametrize("busy", [0, 1])
def test_on_a_busy_machine_the_range_is_wider_and_the_table_says_so(busy: int) -> None:
    slow, fast = job("a", 100, busy=48.0 * (busy == 0)), job("b", 150, busy=48.0 * (busy == 1))
    lines = table(slow, fast)
    assert row(lines, " b ").split()[-1] == ("~" if busy == 0 else "1.50x"), "the slower one was held up, or the faster one"
    assert f"the machine was busy: other processes took 48 % in job {busy} of its cores" in " ".join(lines)
    assert "3.00x" in " ".join(table(slow, job("b", 300))), "more than the others can have taken"
    assert not any("busy" in line for line in table(job("a", 100), job("b", 150, busy=None)))


def test_jobs_that_differ_in_their_seed_are_one_row() -> None:
    rates = {"plugins=[]": (100, 96, 104, 101), "plugins=[amp]": (120, 118, 121, 119)}
    jobs = [job(name, rate, 0.2, accuracy=0.9 + rate / 1e4) for name, some in rates.items() for rate in some]
    lines = table(*jobs)
    text = "\n".join(lines)
    assert row(lines, "plugins=[amp]").split()[-1] == "1.19x", "the medians of four seeds are apart, though no two runs are"
    assert "4 seeds" in text
    assert "0,1,2,3" in text
    assert "0.9096 to 0.9104" in text
    assert row(table(*jobs[:2], *jobs[4:6]), "plugins=[amp]").split()[-1] == "~", "two seeds prove nothing"


def test_jobs_that_failed_or_were_too_short(capsys: pytest.CaptureFixture[str]) -> None:
    lines = table(JobResult("a", error="it broke"), JobResult("b", {}, 0.1), job("c", 10), JobResult("d", {}, 0.1))
    assert "failed: it broke" in "\n".join(lines)
    assert [row(lines, f" {name} ").split()[-1] for name in "bcd"] == ["-", "1.00x", "-"]
    assert any("too few updates" in line for line in lines)


def test_a_pace_is_without_its_warm_up() -> None:
    steady = [Block(epoch, 32, 0.01) for epoch in range(4) for _ in range(5)]
    cold = [Block(0, 32, 0.1)] * 5 + steady[5:]
    assert pace_of(cold) == pace_of(steady) == Pace(pytest.approx(3200), pytest.approx(3200), pytest.approx(3200))
    one_epoch = [Block(0, 32, 9.0)] * 2 + [Block(0, 32, 0.01)] * 18
    assert pace_of(one_epoch) == pace_of(steady)
    assert pace_of(steady[:3]) is None
    assert pace_of([]) is None


def test_a_meter_counts_training_alone_and_forgets_no_update() -> None:
    clock = Clock()
    meter = PaceMeter(clock)
    meter.begin(7, 70)
    for step in range(8, 1008):
        clock.spent[BACKWARD] += 0.5
        clock.spent[COMPILE] += 3.0
        clock.spent[CHECKPOINT] += 3.0
        if step >= meter.next:
            meter.close_block(step, 10 * step, 0)
    assert len(meter.blocks) < 128
    pace = meter.pace()
    assert pace is not None
    assert (pace.rate, pace.low, pace.high) == (20.0, 20.0, 20.0)


def test_equal_runs_with_noise_of_any_size_are_seldom_told_apart() -> None:
    rng, claims = random.Random(1), 0
    for _ in range(60):
        jobs, noise = [], rng.choice([0.01, 0.1, 0.5, 2.0])
        for name in "abcde":
            slow = rng.uniform(0.96, 1.04)  # what one process differs from the next
            blocks = [Block(0, 32, 0.01 * slow * (1 + rng.random() * noise)) for _ in range(100)]
            jobs.append(JobResult(name, {}, 1.0, pace=pace_of(blocks)))
        lines = table(*jobs)
        claims += sum(row(lines, f" {name} ").split()[-1] != "~" for name in "bcde")
    assert claims == 0


def test_others_are_told_from_oneself() -> None:
    load = OtherLoad()
    if load.percent() is None and load.start is None:
        pytest.skip("this system does not tell")
    ticks = load.own_ticks()
    busy = [sys.executable, "-S", "-c", "sum(range(5_000_000)); print(flush=True); input(); sum(range(5_000_000))"]
    with subprocess.Popen(busy, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        child.stdout.readline()
        living = load.own_ticks()
        child.communicate("\n")
    assert ticks < living < load.own_ticks(), "a child's time is one's own, while it lives and when it is gone"
    percent = load.percent()
    assert percent is None or 0 <= percent <= 100


def test_looking_at_other_processes_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    load = OtherLoad()
    if load.start is None:
        pytest.skip("this system does not tell")
    before = load.own_ticks()
    monkeypatch.setattr(other_load, "has_children", lambda: True)
    assert before <= load.own_ticks() <= before + 10
