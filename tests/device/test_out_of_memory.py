"""Which errors tell of short memory, and what is free when a batch is tried again."""

from __future__ import annotations

import os
import subprocess
import sys
import weakref
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from accel import Trainer
from accel.device.out_of_memory import is_out_of_memory
from accel.errors import AccelWarning, TrainingError
from accel.parts import Grads, Objective, Optim
from accel.plugins.oom import OOM
from accel.testing import fit_toy
from tests.support.rank_processes import ROOT
from tests.support.short_memory import Hungry, Net, full


@pytest.mark.slow
def test_what_failed_is_free_before_it_is_tried_again() -> None:
    alive: list[weakref.ref[Tensor]] = []
    left: list[int] = []
    errors: list[Exception] = []

    class Wide(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            left.append(sum(ref() is not None for ref in alive))
            out = super().forward(x).relu()
            alive.append(weakref.ref(out))
            if len(x) > 2:
                circle: list[Any] = [out]
                circle.append(circle)
                try:
                    raise full()
                except RuntimeError as error:
                    errors.append(error)  # as a debugger would, or a log
                    raise MemoryError("Unable to allocate") from error
            return out

    with pytest.warns(AccelWarning, match="oom: memory was short"):
        Trainer(Wide(3, 3), [torch.randn(8, 3)], loss=lambda model, x: model(x).mean(), plugins=[OOM()], watch=()).fit()
    assert left[:3] == [0, 0, 0]


@pytest.mark.parametrize(
    "message",
    [
        "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes.",
        "[enforce fail at CPUAllocator.cpp:64] . DefaultCPUAllocator: not enough memory: you tried to allocate 4 bytes.",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "CUDA error: out of memory",
    ],
)
def test_errors_of_short_memory_are_known(message: str) -> None:
    assert is_out_of_memory(RuntimeError(message))
    assert not is_out_of_memory(ValueError(message))


def test_any_other_error_goes_its_way() -> None:
    @dataclass(eq=False)
    class Broken(Objective):
        def __call__(self, model: nn.Module, batch: Any) -> tuple[Tensor, Any]:
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        fit_toy([Broken(), OOM()])


def test_the_optimisers_step_is_not_cured_by_smaller_batches() -> None:
    @dataclass(eq=False)
    class Large(Optim):
        def step(self, grads: Grads) -> None:
            raise full()

    net = nn.Linear(2, 1)
    before = [param.clone() for param in net.parameters()]
    with pytest.raises(
        TrainingError, match=r"in the optimiser's step of update 1, where the optimiser takes the memory for its state"
    ):
        Trainer(net, [torch.ones(4, 2)], loss=lambda model, x: model(x).mean(), plugins=[OOM(), Large()], watch=()).fit()
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), before, strict=True))


@pytest.mark.filterwarnings("ignore:data is a list whose elements may be samples or ready batches")
@pytest.mark.slow
def test_a_batch_that_cannot_be_cut_is_said() -> None:
    batch = {"x": torch.ones(4, 2), "edges": torch.ones(7)}
    trainer = Trainer(
        nn.Linear(2, 1), [batch], loss=lambda model, b: Hungry(limit=2, where="forward")(nn.Sequential(model), (b["x"],)),
        plugins=[OOM()], watch=(),
    )  # fmt: skip
    with pytest.raises(
        TrainingError, match=r"update 1: its batch cannot be cut \(a tensor of shape \(7,\) in a batch of 4 samples\); set"
    ):
        trainer.fit()


@pytest.mark.slow
def test_a_batch_that_does_not_reach_the_device_is_said() -> None:
    from accel.parts import Transfer

    @dataclass(eq=False)
    class Slow(Transfer):
        def windows(self, windows: Any) -> Any:
            return (window._replace(micros=self.micros()) for window in windows)

        def micros(self) -> Any:
            raise full()
            yield

    with pytest.raises(TrainingError, match=r"update 1: a batch did not reach the device \(CUDA out of memory\), and cannot be"):
        fit_toy([Slow(), OOM()])


@pytest.mark.slow
def test_evaluation_goes_in_smaller_batches_too() -> None:
    class Evaluated(Net):
        splits = ("train", "val")
        limit = 100

        def metrics(self, model: nn.Module, batch: Any) -> Any:
            if len(batch[0]) > self.limit:
                raise full()
            return {"mean": model[:2](batch[0]).mean()}  # type: ignore[index]

    class Small(Evaluated):
        limit = 3

    update = OOM()
    with pytest.warns(AccelWarning, match="short in evaluation; from here on evaluation takes at most 3 samples at a time"):
        short = Small(plugins=[update], batch_size=11, watch=()).fit()
    whole = Evaluated(batch_size=11, watch=()).fit()
    assert short.metrics["mean"] == pytest.approx(whole.metrics["mean"], abs=1e-7)
    assert short.remarks == ["memory was short in evaluation: batches of at most 3 samples"]
    Small.limit = 0
    with pytest.raises(TrainingError, match="in evaluation even with one sample at a time"):
        Small(plugins=[OOM()], batch_size=11, watch=()).fit()


RLIMIT = """
import resource, warnings
import torch
from accel.plugins import OOM
from tests.support.wide_model import BYTES, WIDTH, batches, in_pieces, trained

torch.set_num_threads(1)
data, update = batches(2), OOM()
pages = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (pages + int(2.5 * BYTES), resource.RLIM_INFINITY))  # the passes take four
    short = trained(data, update)
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert 1 < update.size < 64 and update.times == 1, update.size
assert torch.equal(short, in_pieces(2, update.size))
assert not torch.equal(short, torch.ones(WIDTH))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of memory is Linux's")
@pytest.mark.slow
def test_memory_of_the_host_that_is_really_short() -> None:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "MALLOC_MMAP_THRESHOLD_": "1000000"}  # freed at once
    done = subprocess.run([sys.executable, "-c", RLIMIT], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
