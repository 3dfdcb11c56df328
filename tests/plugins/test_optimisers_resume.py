"""Every optimiser takes the state that it wrote itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from accel.parts import Optim
from accel.schema import plugin_registry
from accel.testing import fit_toy

OPTIMISERS = [name for name in plugin_registry.names() if issubclass(plugin_registry.load(name), Optim)]


@pytest.mark.parametrize("name", OPTIMISERS)
def test_an_optimiser_goes_on_from_its_own_state(name: str, tmp_path: Path) -> None:
    whole = fit_toy([name], epochs=2)
    fit_toy([name], epochs=2, stop=3, out=tmp_path, checkpoint_every=1)
    resumed = fit_toy([name], epochs=2, resume=tmp_path)
    assert all(map(torch.equal, whole.weights, resumed.weights))
