"""The examples: whose they are, network, data, what is slow in them. torch alone, as in `networks`.

TraceML (github.com/traceopt-ai/traceml, Apache-2.0) has scripts in `examples/`, which its wheel leaves out. slowai (MIT) has none,
neither in its wheel nor in its sdist: a file of its README, and three synthetic workloads of which the README has name and size.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from traced import networks


@dataclass(frozen=True)
class Example:
    """One example.

    Args:
        source: whose it is, and which.
        network: makes it.
        shape: of a sample.
        classes: labels; 0: there are none, and the loss is the mean square of what the network returns.
        samples: in the data set.
        batch_size: samples per update and rank.
        cause: what is slow by construction, one of those in `answers.RIGHT`; empty if nothing was made slow.
        injected: the same in words.
        script: the tool's own file in TraceML's repository, and its arguments.
        per_sample: seconds that reading a sample sleeps.
        per_batch: seconds that a source of ready batches sleeps for each; 0: there is no such source.
        direct: the loss calls `model.forward`, which skips hooks.
        slow_rank: what rank 0 of two does more slowly: `input` or `update` (`slow_adamw`); `none`: two equal ranks.
        updates: of a plain loop, in which slowai profiles them.
    """

    source: str
    network: Callable[[], nn.Module]
    shape: tuple[int, ...]
    classes: int
    samples: int
    batch_size: int
    cause: str = ""
    injected: str = ""
    script: tuple[str, ...] = ()
    per_sample: float = 0.0
    per_batch: float = 0.0
    direct: bool = False
    slow_rank: str = ""
    updates: int = 60

    @property
    def ranks(self) -> int:
        """Processes of the run."""
        return 2 if self.slow_rank else 1

    @property
    def loader_batch(self) -> int | None:
        """Samples that a loader is to put together; None where batches come ready."""
        return None if self.per_batch else self.batch_size

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """The loss of a batch."""
        outputs = model.forward(batch[0]) if self.direct else model(batch[0])
        return nn.functional.cross_entropy(outputs, batch[1]) if self.classes else outputs.square().mean()

    def tensors(self, count: int) -> tuple[Tensor, ...]:
        """So many samples, and their labels if there are any."""
        generator = torch.Generator().manual_seed(42)
        samples = torch.randn(count, *self.shape, generator=generator)
        return (samples, torch.randint(self.classes, (count,), generator=generator)) if self.classes else (samples,)

    def data(self) -> Any:
        """The data set."""
        if self.per_batch:
            return BatchSource(self)
        samples = TensorDataset(*self.tensors(self.samples))
        return Delayed(samples, self.per_sample, bool(self.slow_rank)) if self.per_sample else samples


class Delayed(Dataset[Any]):
    """Samples that are waited for, on each rank or on the first alone."""

    def __init__(self, data: TensorDataset, seconds: float, first_rank: bool) -> None:
        self.data, self.seconds, self.first_rank = data, seconds, first_rank

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        if not self.first_rank or os.environ.get("RANK", "0") == "0":
            time.sleep(self.seconds)
        return self.data[index]


class BatchSource(IterableDataset[Any]):
    """A source of ready batches, which takes its time for each."""

    def __init__(self, example: Example) -> None:
        self.example = example

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        for _ in range(self.example.samples // self.example.batch_size):
            time.sleep(self.example.per_batch)
            yield self.example.tensors(self.example.batch_size)


TRACEML, SLOWAI = "TraceML, ", "slowai, "
DEMO = "examples/diagnosis/dataloader_bottleneck_demo.py"
STRAGGLER = "examples/distributed/ddp_rank_straggler_demo.py"
SMALLER = ("--num-samples", "8192", "--hidden-dim", "512", "--input-dim", "256", "--num-classes", "100", "--batch-size", "64")


def demo_mlp() -> nn.Module:
    return networks.mlp(256, 512, 10, depth=2)


def rank_mlp() -> nn.Module:
    return networks.mlp(256, 512, 100, depth=3)


def rank_example(what: str, scenario: str, arguments: tuple[str, ...], **more: Any) -> Example:
    """TraceML's demonstration of a slow rank, in sizes for two ranks on two cores."""
    script = (STRAGGLER, "--scenario", scenario, *SMALLER, *arguments)
    source = f"{TRACEML}ddp_rank_straggler_demo {scenario}"
    return Example(source, rank_mlp, (256,), 100, 8192, 64, script=script, slow_rank=what, **more)


EXAMPLES = {
    "quickstart": Example(
        f"{TRACEML}quickstart", lambda: networks.mlp(128, 256, 10), (128,), 10, 8192, 64, script=("examples/quickstart.py",)
    ),
    "loader fast": Example(
        f"{TRACEML}dataloader_bottleneck_demo fast", demo_mlp, (256,), 10, 960, 16, script=(DEMO, "--scenario", "fast")
    ),
    "loader slow": Example(
        f"{TRACEML}dataloader_bottleneck_demo slow", demo_mlp, (256,), 10, 960, 16, "data", "each sample sleeps 8 ms",
        (DEMO, "--scenario", "slow", "--sleep-ms", "8"), per_sample=0.008, updates=20,
    ),
    "copies": Example(
        f"{TRACEML}h2d_timing_demo", lambda: networks.mlp(512, 1024, 10), (512,), 10, 8192, 512,
        script=("examples/diagnosis/h2d_timing_demo.py",), updates=16,
    ),
    "batch source": Example(
        f"{TRACEML}manual_custom_minimal", lambda: networks.mlp(128, 256, 10), (128,), 10, 16000, 64, "data",
        "each batch sleeps 4 ms", ("examples/manual_custom_minimal.py",), per_batch=0.004,
    ),
    "direct forward": Example(
        f"{TRACEML}incomplete_signals_demo", lambda: networks.mlp(512, 1024, 100, activation=nn.ReLU), (512,), 100, 4096, 64,
        script=("examples/diagnosis/incomplete_signals_demo.py",), direct=True,
    ),
    "ranks balanced": rank_example("none", "balanced", ()),
    "ranks slow input": rank_example(
        "input", "input-straggler", ("--straggler-rank", "0", "--input-sleep-ms", "50"), cause="slow reader",
        injected="rank 0 sleeps 50 ms a batch", per_sample=0.050 / 64,
    ),
    "ranks slow update": rank_example(
        "update", "compute-straggler",
        ("--straggler-rank", "0", "--compute-extra-matmuls", "8", "--compute-extra-dim", "1024"), cause="slow optimiser",
        injected="the optimiser of rank 0 multiplies 8 matrices",
    ),
    "ResNet-50": Example(f"{SLOWAI}README, at 112 pixels", networks.resnet50, (3, 112, 112), 1000, 64, 8, updates=3),
    "GEMM": Example(
        f"{SLOWAI}README, dense GEMM", lambda: nn.Linear(4096, 4096, bias=False), (4096,), 0, 1024, 256, "products",
        "nothing but products of 4096 x 4096", updates=5,
    ),
    "pointwise chain": Example(
        f"{SLOWAI}README, pointwise chain", lambda: networks.PointwiseChain(8192, 8), (8192,), 0, 1024, 128, "memory traffic",
        "nothing but element-wise operations on rows of 8192", updates=5,
    ),
    "tiny operations": Example(
        f"{SLOWAI}README, tiny ops", lambda: networks.TinyOperations(64, 5000), (64,), 0, 1024, 32, "overhead",
        "5000 operations on 2048 numbers", updates=1,
    ),
}  # fmt: skip
