"""The mean over a window, and the number of items that its weights refer to, with one rank and with two that are alike."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from accel.parts import Parallel
from accel.parts.grads import Grads
from accel.parts.mean import WindowMean
from accel.parts.window import Micro


class Twins(Parallel):
    """Two ranks that do the same."""

    @property
    def world_size(self) -> int:
        return 2

    def sum(self, number: Tensor) -> Tensor:
        return number * 2


def prepared(parallel: Parallel, samples: int | None = None) -> Parallel:
    parallel.window_samples, parallel.reference = samples, None
    return parallel


def test_a_process_alone_refers_to_the_items_that_it_is_given() -> None:
    alone = prepared(Parallel())
    assert alone.reference_count(torch.tensor(5.0)) == 5
    assert alone.reference_count(torch.tensor(7.0)) == 7
    assert alone.reference_count(torch.tensor(0.0)) == 1


def test_ranks_refer_to_the_power_of_two_above_their_first_mean_ever_after() -> None:
    twins = prepared(Twins())
    assert twins.reference_count(torch.tensor(5.0)) == 8
    assert twins.reference_count(torch.tensor(70.0)) == 8


@pytest.mark.parametrize("parallel", [Parallel, Twins])
@pytest.mark.parametrize("items", [[3, 5], [4, 4], [0, 6], [7]], ids=str)
@pytest.mark.parametrize("as_tensors", [False, True], ids=["", "tensors"])
def test_the_gradient_is_that_of_the_mean_over_all_items(parallel: type[Parallel], items: list[Any], as_tensors: bool) -> None:
    param = nn.Parameter(torch.ones(()))
    slopes, ranks = [2.0, -3.0], parallel().world_size
    micros = [Micro(None, 4, 1 / len(items), number == len(items) - 1) for number in range(len(items))]
    mean = WindowMean(prepared(parallel()))
    for micro, count, slope in zip(micros, items, slopes, strict=False):
        loss = param * slope if count else param * float("nan")
        weight = mean.add(loss, torch.tensor(count) if as_tensors else count, micro)
        if count:
            (loss * weight).backward()
    grads = mean.normalise(Grads([param]))
    wanted = sum(slope * count for slope, count in zip(slopes, items, strict=False)) / sum(items)
    assert mean.loss.item() == pytest.approx(wanted)
    (gradient,) = grads.materialise()
    # each of the two sums to the same gradient, of which ranks take the mean
    assert gradient.item() == pytest.approx(wanted), ranks


def test_gradients_of_ranks_on_the_host_are_not_written_again_for_a_factor_of_one() -> None:
    param = nn.Parameter(torch.ones(()))
    mean = WindowMean(prepared(Twins(), samples=4))
    mean.add(param * 2.0, None, Micro(None, 4, 1.0, True))
    assert mean.normalise(Grads([param])).scale is None
    mean = WindowMean(prepared(Twins(), samples=4))
    mean.add(param * 2.0, None, Micro(None, 3, 1.0, True))
    scale = mean.normalise(Grads([param])).scale
    assert scale is not None
    assert scale.item() == 0.75
