from __future__ import annotations

import os
import random
import subprocess
import sys
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from accel import Trainer
from accel.data.batches.counted import count_samples
from accel.device.out_of_memory import is_out_of_memory
from accel.errors import AccelWarning, TrainingError
from accel.parts import Grads, Objective, Optim, Part
from accel.plugins.accumulate import Accumulate
from accel.plugins.adamw import AdamW
from accel.plugins.amp import AMP
from accel.plugins.clip import Clip
from accel.plugins.ema import EMA
from accel.plugins.finite_guard import FiniteGuard
from accel.plugins.lamb import LAMB
from accel.plugins.oom import OOM
from accel.plugins.prefetch import Prefetch
from accel.plugins.stream import Stream
from accel.testing import ToyResult, fit_toy
from accel.values import Whole
from tests.support.rank_processes import ROOT

Where = Literal["forward", "loss", "backward"]
WHERE: list[Where] = ["forward", "loss", "backward"]


class Full(torch.autograd.Function):
    """Runs out of memory in the backward pass."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor) -> Tensor:
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        raise full()


def full() -> Exception:
    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of ...")


@dataclass(eq=False)
class Hungry(Objective):
    """Runs out of memory above `limit` samples, from its call number `since` on."""

    limit: Whole = 2
    where: Where = "backward"
    since: Whole = 0
    calls = failed = 0

    def identity(self) -> None:
        """Nothing."""

    def __call__(self, model: nn.Module, batch: Any) -> tuple[Tensor, Any]:
        self.calls += 1
        over = count_samples(batch) > self.limit and self.calls > self.since
        self.failed += over
        if over and self.where == "forward":
            model(batch[0])
            raise full()
        loss, items = super().__call__(model, batch)
        if over and self.where == "loss":
            raise full()
        return Full.apply(loss) if over else loss, items  # type: ignore[no-untyped-call]


BESIDE: dict[str, tuple[int, Callable[[], list[Part]]]] = {
    "alone": (1, list),
    "accumulate": (2, list),
    "clip, ema, guard": (1, lambda: [Clip(max_norm=0.1), EMA(), FiniteGuard(), AdamW()]),
    "float16": (2, lambda: [AMP(dtype="float16", force=True, init_scale=1024.0), AdamW()]),
    "lamb not in order": (1, lambda: [Prefetch(), LAMB(), Stream()]),
}


def alike(a: ToyResult, b: ToyResult) -> bool:
    """Whether two runs trained to the same bits; one of them may have evaluated in batches of another size."""
    b.metrics = a.metrics
    return a.equals(b) and all(torch.equal(x, y) for x, y in zip(a.spy.states[-1], b.spy.states[-1], strict=True))


def fit_short(hungry: Part, oom: Part, beside: list[Part], **settings: Any) -> Any:
    with pytest.warns(AccelWarning, match="oom: memory was short in update"):
        return fit_toy([hungry, oom, *beside], **settings)


@pytest.mark.filterwarnings("ignore:.*has no effect")
@pytest.mark.parametrize(
    ("where", "beside"), [*((where, "alone") for where in WHERE), *zip(WHERE * 2, [*BESIDE][1:], strict=False)]
)
def test_the_result_is_that_of_the_smaller_size_from_the_start(where: Where, beside: str) -> None:
    steps, others = BESIDE[beside]
    hungry = Hungry(where=where)
    window = [Accumulate(steps=steps)] if steps > 1 else []
    overflow = [5, 6, 7, 8] if beside == "float16" else []  # of the calls that compute a loss
    short = fit_short(hungry, OOM(), [*others(), *window], overflow=overflow if where == "forward" else [])
    small = fit_toy([*others(), Accumulate(steps=2 * steps)], batch_size=2, overflow=overflow if where == "forward" else [])
    assert hungry.failed == 1
    assert alike(short, small)


@pytest.mark.parametrize("where", ["loss", "backward"])
def test_it_is_so_when_every_other_update_fails(where: Where) -> None:
    hungry = Hungry(where=where)
    short = fit_short(hungry, OOM(grow_after=1), [Accumulate(steps=2), AdamW()])
    assert hungry.failed > 4
    assert alike(short, fit_toy([Accumulate(steps=4), AdamW()], batch_size=2))


class Drawing(nn.Module):
    """Moves a buffer in place and assigns one anew, and draws from each of the generators."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("seen", torch.zeros(3).expand(3))
        self.register_buffer("none", None)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.seen = self.seen + x.detach().mean(0)
        return x * (random.random() + np.random.rand() + np.random.randn() + torch.rand(()))


class Net(Trainer):
    """Everything that passes move, in one net."""

    splits = ("train",)

    def model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(0.5), Drawing(), nn.Linear(3, 1))

    def data(self, split: str) -> Any:
        return (
            None
            if split not in self.splits
            else TensorDataset(torch.randn(22, 3, generator=torch.Generator().manual_seed(0)), torch.arange(22.0) % 3)
        )

    def loss(self, model: nn.Module, batch: Any) -> Any:
        x, y = batch
        many = (y > 0).sum()  # as tokens: unlike many in each sample, and none in some
        return (model(x)[:, 0].square() * (y > 0)).sum() / many.clamp(min=1), many


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_buffers_and_random_numbers_go_back_and_items_weigh_right(where: Where) -> None:
    def state(**run: Any) -> dict[str, Tensor]:
        return Net(**run, watch=()).fit().model.state_dict()

    hungry = Hungry(where=where)
    with pytest.warns(AccelWarning, match="oom: memory was short"):
        short = state(plugins=[hungry, OOM(grow_after=2)], batch_size=4)
    small = state(plugins=[Accumulate(steps=2)], batch_size=2)
    assert hungry.failed > 1
    assert float(small["3.calls"]) == 11
    assert all(torch.equal(short[name], small[name]) for name in small)


def test_draws_of_python_and_numpy_are_watched_and_then_copied_only_where_there_are_any() -> None:
    from accel.device.step_snapshot import PROBED_UPDATES, StepSnapshot

    before = StepSnapshot(nn.Linear(1, 1), torch.device("cpu"))
    for _ in range(PROBED_UPDATES + 1):
        before.take()
        before.discard()
    assert before.host is None
    before = StepSnapshot(nn.Linear(1, 1), torch.device("cpu"))
    for _ in range(PROBED_UPDATES + 1):
        before.take()
        random.random()
        before.discard()
    before.take()
    drawn = random.random(), float(torch.rand(()))
    before.restore()
    assert (random.random(), float(torch.rand(()))) == drawn


def test_it_halves_down_to_one_sample() -> None:
    hungry = Hungry(limit=1)
    assert alike(fit_short(hungry, OOM(), []), fit_toy([Accumulate(steps=4)], batch_size=1))
    assert hungry.failed == 2


def test_one_sample_that_does_not_fit_ends_the_run_in_a_sentence() -> None:
    with pytest.raises(
        TrainingError, match=r"oom: memory is short in update 1 even with one sample at a time \(CUDA out of memory\)"
    ):
        fit_toy([Hungry(limit=0), OOM()])


def test_the_size_is_in_the_checkpoints(tmp_path: Path) -> None:
    small = fit_toy([Accumulate(steps=2)], batch_size=2, epochs=3)
    fit_short(Hungry(), OOM(), [], out=tmp_path / "run", stop=8, epochs=3, checkpoint_every=1)
    hungry = Hungry()
    rest = fit_toy([hungry, OOM()], resume=tmp_path / "run", epochs=3)
    assert hungry.failed == 0
    assert all(torch.equal(a, b) for a, b in zip(rest.weights, small.weights, strict=True))
    assert rest.spy.run.parts.update.summary_notes() == ["memory was short in 1 update: from then on at most 2 samples at a time"]


def test_a_run_that_ended_without_it_goes_on_with_it(tmp_path: Path) -> None:
    with pytest.raises(torch.OutOfMemoryError):
        fit_toy([Hungry(since=8)], out=tmp_path / "run")
    fit_short(Hungry(), OOM(), [], resume=tmp_path / "run")


def test_it_says_so_when_it_happens_and_at_the_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = "^oom: memory was short in update 3; from here on training takes at most 2 samples at a time$"
    with pytest.warns(AccelWarning, match=said) as warned:
        fit_toy([Hungry(since=2), OOM(), "progress"], out=tmp_path / "run")
    assert len(warned) == 1
    out = capsys.readouterr().out
    assert "out of memory" in out
    assert "memory was short in 1 update: from then on at most 2 samples at a time\n" in out
    assert '"memory was short in 1 update' in (tmp_path / "run/summary.json").read_text()


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
    "said",
    [
        "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes.",
        "[enforce fail at CPUAllocator.cpp:64] . DefaultCPUAllocator: not enough memory: you tried to allocate 4 bytes.",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "CUDA error: out of memory",
    ],
)
def test_errors_of_short_memory_are_known(said: str) -> None:
    assert is_out_of_memory(RuntimeError(said))
    assert not is_out_of_memory(ValueError(said))


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
def test_memory_of_the_host_that_is_really_short() -> None:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "MALLOC_MMAP_THRESHOLD_": "1000000"}  # freed at once
    done = subprocess.run([sys.executable, "-c", RLIMIT], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
