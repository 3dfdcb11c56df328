"""CSAN, torch's sanitizer for CUDA, and runs of accel in which something moves between streams."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from accel import Trainer
from accel.parts import Part
from accel.plugins.accumulate import Accumulate
from accel.plugins.adamw import AdamW
from accel.plugins.amp import AMP
from accel.plugins.augment import Augment
from accel.plugins.clip import Clip
from accel.plugins.cuda_graph import CudaGraph
from accel.plugins.ema import EMA
from accel.plugins.finite_guard import FiniteGuard
from accel.plugins.lamb import LAMB
from accel.plugins.lr_range import LRRange
from accel.plugins.master_weights import MasterWeights
from accel.plugins.muon import Muon
from accel.plugins.norms import Norms
from accel.plugins.oom import OOM
from accel.plugins.pinned import Pinned
from accel.plugins.prefetch import Prefetch
from accel.plugins.recompute import Recompute
from accel.plugins.resident import Resident
from accel.plugins.schedule_free import ScheduleFree
from accel.plugins.sgd import SGD
from accel.plugins.step_in_backward import StepInBackward
from accel.plugins.stream import Stream
from accel.plugins.threads import Threads
from accel.plugins.workers import Workers

__all__ = ["BATCHES", "SAMPLES", "Samples", "fit", "sanitize"]


class Samples(Dataset[Any]):
    """Samples that are written straight into the memory of the batch."""

    shape, dtype = (4,), "float32"

    def __len__(self) -> int:
        return 64

    def fill(self, index: int, rng: Any, out: Any) -> int:
        out[:] = index
        return 0

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.full((4,), float(index)), 0


BATCHES: dict[str, Callable[[], list[Part]]] = {
    "plain": list,
    "pinned": lambda: [Pinned()],
    "stream": lambda: [Stream()],
    "float16": lambda: [Stream(), AMP(dtype="float16"), Accumulate(steps=2), Clip(), AdamW(), EMA()],
    "master_weights": lambda: [Stream(), MasterWeights(dtype="float16"), Clip(), AdamW(), Norms(every=2)],
    "lamb": lambda: [Stream(), AMP(dtype="float16"), LAMB(), FiniteGuard()],
    "muon": lambda: [Stream(), Muon(matrices=["*"]), EMA()],
    "schedule_free": lambda: [Stream(), ScheduleFree()],
    "graph": lambda: [Stream(), AMP(dtype="float16"), Clip(), AdamW(), EMA(), CudaGraph(warmup=2)],
    "pinned graph": lambda: [Pinned(), Accumulate(steps=2), AdamW(), CudaGraph(warmup=2)],
    "oom": lambda: [OOM(), Stream(), AdamW()],
    "recompute": lambda: [Recompute(), Stream()],
    "step_in_backward": lambda: [StepInBackward(), Stream(), SGD()],
    "lr_range": lambda: [LRRange(updates=12), Stream(), AdamW()],
    "augment": lambda: [Stream(), Augment(mixup=0.2, erasing=0.5, num_classes=3), AdamW()],
}
"""Over ready batches of pageable memory."""
SAMPLES: dict[str, Callable[[], list[Part]]] = {
    "threads": lambda: [Threads(count=2), Stream(), AdamW()],
    "threads prefetch": lambda: [Threads(count=2), Prefetch(), Stream(), AdamW()],
    "threads pinned": lambda: [Threads(count=1, depth=1), Pinned(), AdamW()],
    "workers": lambda: [Workers(count=1), Stream(), AdamW()],
    "resident": lambda: [Resident(), AdamW()],
}
"""Over samples, which a loader reads."""


def net_of(name: str) -> nn.Module:
    """Return the model of a run."""
    if name == "step_in_backward":
        return nn.Linear(4, 1)
    size = 3 * 8 * 8 if name == "augment" else 4
    return nn.Sequential(nn.Flatten(), nn.Linear(size, 8), nn.BatchNorm1d(8), nn.Dropout(0.1), nn.Linear(8, 1))


def batches_of(name: str) -> DataLoader[Any]:
    """Return ready batches: numbers, or pictures with their labels."""
    generator = torch.Generator().manual_seed(0)
    if name != "augment":
        return DataLoader(list(torch.randn(12, 8, 4, generator=generator)), batch_size=None)
    pictures = torch.randn(12, 8, 3, 8, 8, generator=generator)
    return DataLoader([(each, torch.arange(8) % 3) for each in pictures], batch_size=None)


def fit(name: str, out: Any = None, device: str = "cuda", fails_at: int = -1, **run: Any) -> list[float]:
    """Return the losses of a run of two epochs, with evaluations and, with `out`, checkpoints.

    Raises:
        KeyError: in the loss number `fails_at`, from 0.
    """
    losses: list[Tensor] = []
    torch.manual_seed(0)
    net, batches = net_of(name), batches_of(name)
    data = Samples() if name in SAMPLES else batches

    def loss(model: nn.Module, batch: Any) -> Tensor:
        x = batch[0] if isinstance(batch, list | tuple) else batch
        value: Tensor = model(x).float().square().mean()
        if len(losses) == fails_at:
            raise KeyError("mine")
        if model.training:
            losses.append(value.detach())
        return value

    saves: dict[str, Any] = {} if out is None else {"out": out, "checkpoint_every": 3}
    if name in SAMPLES:
        saves["batch_size"] = 8
    Trainer(
        net, data, val=None if name in SAMPLES else batches, loss=loss, plugins=(BATCHES | SAMPLES)[name](), watch=("metrics",),
        device=device, epochs=2, seed=1, **saves, **run,
    ).fit()  # fmt: skip
    return [value.item() for value in losses]


def sanitize() -> None:
    """Have CSAN raise at every access that nothing orders, in this process from here on.

    To import torch's sanitizer is to trace every allocation from then on, by Python code that cannot run while the error of one
    that failed is on its way: a run that is out of memory would end with a SystemError. So it is imported here alone.
    """
    import torch.cuda._sanitizer as sanitizer

    torch.zeros(1, device="cuda")
    sanitizer.enable_cuda_sanitizer()
    handle = sanitizer.EventHandler._handle_kernel_launch

    def handle_launch(self: Any, *args: Any, **kwargs: Any) -> Any:
        # what is captured does not run, and torch's sanitizer takes it for work of the capturing stream
        return [] if torch.cuda.is_current_stream_capturing() else handle(self, *args, **kwargs)

    # a forked worker has no CUDA, and no need of a mode that asks for its streams
    os.register_at_fork(after_in_child=lambda: sanitizer.cuda_sanitizer.dispatch.__exit__(None, None, None))
    sanitizer.EventHandler._handle_kernel_launch = handle_launch  # type: ignore[method-assign]


def main() -> int:
    """Run all under CSAN, on a GPU too, and print one line for each. Return 1 if one failed."""
    sanitize()
    failed = 0
    for name in [*BATCHES, *SAMPLES]:
        try:
            fit(name)
        except Exception as error:
            failed += 1
            print(name, type(error).__name__, str(error).strip()[:1000])
        else:
            print(name, "no race")
    print(f"{len(BATCHES) + len(SAMPLES) - failed} without a race, {failed} with")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
