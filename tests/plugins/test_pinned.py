from __future__ import annotations

import pytest

from accel.errors import AccelWarning
from accel.plugins.pinned import Pinned
from accel.testing import fit_toy


def test_on_a_cpu_it_says_that_it_has_no_effect() -> None:
    with pytest.warns(AccelWarning, match="pinned has no effect: on the CPU a batch is where it belongs"):
        pinned = fit_toy([Pinned()])
    assert pinned.equals(fit_toy([]))


def test_a_bundle_leaves_it_out_on_a_cpu() -> None:
    (want,) = Pinned.wants
    assert want.unmet_reason({}, "cpu") == "needs CUDA, and this run is on the CPU (its batches are where they belong)"
    assert want.unmet_reason({}, "cuda") is None
