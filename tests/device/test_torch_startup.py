"""A run starts without torch's compiler, and gives way to it once something has imported it."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from accel.device.torch_startup import avoid_dynamo_import, unwrapped_step
from accel.optim.adamw import FusedAdamW
from accel.optim.fused import Fused
from accel.optim.sgd import FusedSGD


def run(code: str) -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_run_with_checkpoints_imports_neither_the_compiler_nor_matplotlib_nor_scikit_learn() -> None:
    run("""
import sys, tempfile
from pathlib import Path
from accel.plugins.adamw import AdamW
from accel.testing import fit_toy
with tempfile.TemporaryDirectory() as folder:
    fit_toy([AdamW()], out=Path(folder, "run"), checkpoint_every=2, stop=7)
    fit_toy([AdamW()], resume=Path(folder, "run"))
for name in ("torch._dynamo", "matplotlib", "sklearn.datasets"):
    assert name not in sys.modules, name
""")


@pytest.mark.slow
def test_once_the_compiler_is_there_it_finds_its_marks() -> None:
    run("""
import torch
from accel.optim.adamw import FusedAdamW
from accel.optim.fused import Fused
from accel.optim.sgd import FusedSGD
from accel.device.torch_startup import MARK, avoid_dynamo_import
avoid_dynamo_import()
optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
optimizer.state_dict()
import torch._dynamo
method = torch.optim.Optimizer.state_dict.__wrapped__
before = getattr(method, MARK)
assert not hasattr(before, "_torchdynamo_disable")
optimizer.state_dict()
assert getattr(method, MARK)._torchdynamo_disable
""")


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW, FusedSGD, FusedAdamW])
def test_the_light_step_is_the_step(kind: type[torch.optim.Optimizer], fused: bool) -> None:
    avoid_dynamo_import()

    def train(light: bool) -> torch.Tensor:
        torch.manual_seed(0)
        model = nn.Linear(3, 2)
        settings = {} if issubclass(kind, Fused) else {"fused": fused}
        optimizer = kind(model.parameters(), lr=0.1, **settings)  # type: ignore[call-arg]
        step = unwrapped_step(optimizer) if light else optimizer.step
        for _ in range(5):
            optimizer.zero_grad()
            model(torch.ones(4, 3)).square().mean().backward()
            step()
        return model.weight.detach()

    assert torch.equal(train(True), train(False))


@pytest.mark.parametrize("kind", [torch.optim.SGD, FusedSGD])
def test_hooks_of_the_user_are_called(kind: type[torch.optim.Optimizer]) -> None:
    optimizer = kind([torch.nn.Parameter(torch.ones(1))], lr=0.1)  # type: ignore[call-arg]
    step, called = unwrapped_step(optimizer), []
    optimizer.register_step_post_hook(lambda *_: called.append("post"))
    step()
    optimizer.register_step_pre_hook(lambda *_: called.append("pre"))
    step()
    assert called == ["post", "pre", "post"]


def test_an_optimiser_that_is_not_torchs_is_stepped_as_it_is() -> None:
    class Mine(torch.optim.SGD):
        steps = 0

        def step(self, closure=None):  # type: ignore[no-untyped-def]
            self.steps += 1

    mine = Mine([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    unwrapped_step(mine)()
    assert mine.steps == 1
