from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from accel.export.quantisation.layer_errors import layer_errors


def test_an_error_is_the_share_of_the_norm_of_the_outputs() -> None:
    def run(layers: Sequence[str]) -> list[NDArray[Any]]:
        off = {"a": 0.5, "b": 0.0}
        return [np.array([3.0, 4.0, -np.inf]) + sum(off[name] for name in layers), np.zeros(2)]

    assert layer_errors(run, ["a", "b"]) == {"a": pytest.approx(np.sqrt(0.5) / 5), "b": 0.0}
