"""Lines of code on which the time goes, and the time outside of operators."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter, sleep
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from accel import Trainer
from accel.diagnose.code_lines.busiest_lines import busiest_lines
from accel.diagnose.code_lines.line_sampler import LineSampler, Place, busiest
from accel.diagnose.code_lines.outside_operators import outside_operators
from accel.diagnose.doctor import measured_run
from accel.diagnose.probes.probed_run import ProbedRun
from accel.engine.sandbox import sandbox

ENOUGH = 100
"""Samples after which most of the time is known."""


def until_seen(sampler: LineSampler, *calls: Any) -> None:
    while len(sampler.samples) < ENOUGH:
        for call in calls:
            call()


def waiting() -> None:
    sleep(0.002)  # waits


def computing() -> None:
    began = perf_counter()
    while perf_counter() - began < 0.002:  # computes
        pass


def test_the_line_that_takes_the_time_is_named() -> None:
    with LineSampler() as sampler:
        until_seen(sampler, waiting)
        sampler.book("work")
    line = sampler.busiest("work")
    assert line is not None
    assert line.text.endswith("sleep(0.002)  # waits")
    assert "test_code_lines.py:" in line.text
    assert line.share > 0.5
    assert sampler.busiest("play") is None


def test_code_that_holds_the_interpreter_is_seen_as_well_as_code_that_waits() -> None:
    taken = {waiting: 0.0, computing: 0.0}

    def timed(call: Any) -> None:
        began = perf_counter()
        call()
        taken[call] += perf_counter() - began

    with LineSampler() as sampler:
        until_seen(sampler, lambda: timed(waiting), lambda: timed(computing))
        sampler.book("work")
    for call, seconds in taken.items():
        places = sampler.seconds["work"].items()
        seen = sum(spent for place, spent in places if place is not None and place.function == call.__name__)
        assert seen > 0.1 * seconds, call


def test_a_package_is_named_by_what_was_called_of_it() -> None:
    inner = Image.new.__code__
    assert "site-packages" in inner.co_filename or "dist-packages" in inner.co_filename
    line = busiest({Place(inner.co_filename, 1, "convert"): 0.3, Place(inner.co_filename, 9, "convert"): 0.4, None: 0.3})
    assert line is not None
    assert line.text == "PIL/Image.py convert()"
    assert line.share == pytest.approx(0.7)


def test_a_function_stands_for_its_lines_and_nothing_for_what_is_spread() -> None:
    here = {Place(__file__, line, "work"): 0.2 for line in range(3)}
    line = busiest({**here, None: 0.4})
    assert line is not None
    assert line.text.endswith("test_code_lines.py work()")
    assert busiest({**here, None: 1.0}) is None
    assert busiest({}) is None
    assert busiest({Place(__file__, line, f"work{line}"): 0.3 for line in range(3)}) is None


def test_the_interpreter_switches_afterwards_as_before() -> None:
    before = sys.getswitchinterval()
    with LineSampler() as sampler:
        assert sys.getswitchinterval() < before
    assert sys.getswitchinterval() == before
    assert not sampler.sampler.is_alive()


class Looping(nn.Module):
    """A model that goes through the samples one by one, or takes all at once."""

    def __init__(self, loops: bool) -> None:
        super().__init__()
        self.layer, self.loops = nn.Linear(512, 512), loops

    def forward(self, points: Tensor) -> Tensor:
        if self.loops:
            return torch.stack([sum(self.layer.bias[place] for place in range(8)) * point.mean() for point in points])  # loops
        for _ in range(4):
            points = self.layer(points)
        return points


def loss(model: nn.Module, batch: Any) -> Tensor:
    return F.mse_loss(scores := model(batch[0]), torch.zeros_like(scores))


@contextmanager
def probed(model: nn.Module, **more: Any) -> Iterator[ProbedRun]:
    data = TensorDataset(torch.randn(512, 512))
    trainer = Trainer(model, data, loss=loss, batch_size=128, watch=(), **more)
    with measured_run(trainer) as (run, _), sandbox(run) as windows:
        yield ProbedRun(run, windows, 2.0)


def test_a_loop_over_samples_is_outside_of_operators_and_large_products_are_within() -> None:
    with probed(Looping(loops=True)) as run:
        looping = outside_operators(run, 0.3)
        lines = busiest_lines(run, 0.3)
    with probed(Looping(loops=False)) as run:
        computing = outside_operators(run, 0.3)
    assert looping is not None
    assert computing is not None
    assert looping > 0.5 > computing
    assert lines["forward"].text.endswith("# loops")
