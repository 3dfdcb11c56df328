"""What a GPU is asked for its speed: one measurement a call, one JSON object on the last line.

python benchmarks/gpu_speed.py resnet50            # images a second: plain, accel, + compile, + cuda_graph
python benchmarks/gpu_speed.py input               # GB/s and updates a second of each way into the card
python benchmarks/gpu_speed.py overlap             # the share of the copies that runs beside kernels, from a trace
python benchmarks/gpu_speed.py stall               # what saving takes from the loop
python benchmarks/gpu_speed.py oom                 # updates that do not fit, in pieces
python benchmarks/gpu_speed.py resnet50 --small    # the same code at sizes that say nothing, where it is only tried
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accel import Trainer
from accel.parts import Part, Watch
from accel.plugins.adamw import AdamW
from accel.plugins.amp import AMP
from accel.plugins.channels_last import ChannelsLast
from accel.plugins.compile import Compile
from accel.plugins.cuda_graph import CudaGraph
from accel.plugins.ema import EMA
from accel.plugins.oom import OOM
from accel.plugins.pinned import Pinned
from accel.plugins.profiler import Profiler
from accel.plugins.sgd import SGD
from accel.plugins.stream import Stream
from accel.tasks.models.resnet import resnet18, resnet50


@dataclass(frozen=True)
class Size:
    """How much is computed."""

    batch: int
    side: int
    classes: int
    updates: int
    warm: int
    model: Callable[..., nn.Module]


FULL = Size(256, 224, 1000, 60, 15, resnet50)
SMALL = Size(2, 32, 4, 6, 3, resnet18)


class Clocked:
    """Ready batches that time the updates between the warm-up and the last one; both marks wait for the device, none between."""

    def __init__(self, batches: list[Any], size: Size) -> None:
        self.batches, self.size, self.seconds = batches, size, float("nan")

    def __len__(self) -> int:
        return self.size.warm + self.size.updates + 1

    def __iter__(self) -> Iterator[Any]:
        for number in range(len(self)):
            if number == self.size.warm:
                torch.cuda.synchronize()
                begun = perf_counter()
            if number == len(self) - 1:
                torch.cuda.synchronize()
                self.seconds = perf_counter() - begun
            yield self.batches[number % len(self.batches)]


def pictures(size: Size, device: str, count: int = 1) -> list[tuple[Tensor, Tensor]]:
    """So many batches of pictures and classes."""
    rng = torch.Generator().manual_seed(0)
    shape = (size.batch, 3, size.side, size.side)
    return [
        (torch.randn(shape, generator=rng).to(device), torch.randint(size.classes, (size.batch,), generator=rng).to(device))
        for _ in range(count)
    ]


def loss(model: nn.Module, batch: Any) -> Tensor:
    """The cross-entropy."""
    return F.cross_entropy(model(batch[0]), batch[1])


def by_accel(size: Size, data: Clocked, plugins: list[Part], **run: Any) -> float:
    """Images a second of a run."""
    Trainer(size.model(size.classes), data, loss=loss, plugins=plugins, watch=(), device="cuda", **run).fit()
    return size.updates * size.batch / data.seconds


def by_hand(size: Size) -> float:
    """Images a second of the plain loop in bfloat16 and channels_last, with torch's fused SGD."""
    model = size.model(size.classes).cuda().to(memory_format=torch.channels_last)
    optim = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, fused=True)
    data = Clocked([(x.to(memory_format=torch.channels_last), y) for x, y in pictures(size, "cuda")], size)
    for batch in data:
        with torch.autocast("cuda", torch.bfloat16):
            value = loss(model, batch)
        value.backward()
        optim.step()
        optim.zero_grad()
    return size.updates * size.batch / data.seconds


def measure_resnet50(size: Size) -> dict[str, Any]:
    """Images a second, from batches that lie on the card."""

    def plugins(*more: Part) -> list[Part]:
        return [AMP(dtype="bfloat16"), ChannelsLast(), SGD(lr=0.1, momentum=0.9), *more]

    arms: dict[str, Callable[[], float]] = {
        "plain": lambda: by_hand(size),
        "accel": lambda: by_accel(size, Clocked(pictures(size, "cuda"), size), plugins()),
        "accel, cuda_graph": lambda: by_accel(size, Clocked(pictures(size, "cuda"), size), plugins(CudaGraph())),
        "accel, compile": lambda: by_accel(size, Clocked(pictures(size, "cuda"), size), plugins(Compile())),
        "accel, compile, cuda_graph": lambda: by_accel(
            size, Clocked(pictures(size, "cuda"), size), plugins(Compile(), CudaGraph())
        ),
    }
    return {"unit": "images/s", **{name: guarded(arm) for name, arm in arms.items()}}


def measure_input(size: Size) -> dict[str, Any]:
    """Images a second when each batch comes from the host: plain, pinned, on a stream of its own; and the bare copy."""
    ways: dict[str, Callable[[], list[Part]]] = {"plain": list, "pinned": lambda: [Pinned()], "stream": lambda: [Stream()]}
    host = pictures(size, "cpu", count=4)
    found: dict[str, Any] = {"unit": "images/s"}
    for name, way in ways.items():
        found[name] = guarded(lambda way=way: by_accel(size, Clocked(host, size), [AMP(dtype="bfloat16"), ChannelsLast(), *way()]))
    source = torch.empty(256 << 20 if size is FULL else 1 << 20, dtype=torch.uint8, pin_memory=True)
    times = []
    for _ in range(5):
        torch.cuda.synchronize()
        begun = perf_counter()
        source.to("cuda", non_blocking=True)
        torch.cuda.synchronize()
        times.append(perf_counter() - begun)
    return found | {"pinned memory to the card, GB/s": round(source.nbytes / median(times) / 1e9, 2)}


def measure_overlap(size: Size) -> dict[str, Any]:
    """The share of the time of copies to the card in which a kernel runs too, from the trace of a run with `stream`."""
    with tempfile.TemporaryDirectory() as folder:
        plugins = [Stream(), AMP(dtype="bfloat16"), ChannelsLast(), SGD(), Profiler(first=size.warm, updates=3)]
        by_accel(size, Clocked(pictures(size, "cpu", count=4), size), plugins, out=Path(folder) / "run")
        traces = sorted(Path(folder).rglob("*.json.gz"))
        if not traces:
            return {"overlap": None, "why": "the profiler has written no trace"}
        return overlap(read_trace(traces[0]))


def read_trace(path: Path) -> list[dict[str, Any]]:
    """The events of a trace."""
    import gzip

    events: list[dict[str, Any]] = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    return events


def overlap(events: list[dict[str, Any]]) -> dict[str, Any]:
    """How much of the copies to the device lies under kernels."""
    kernels = sorted((event["ts"], event["ts"] + event["dur"]) for event in events if event.get("cat") == "kernel")
    copies = [event for event in events if event.get("cat") == "gpu_memcpy" and "HtoD" in event["name"]]
    total = sum(event["dur"] for event in copies)
    merged: list[list[float]] = []
    for begin, end in kernels:
        if merged and begin <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([begin, end])
    under = sum(max(0.0, min(end, copy["ts"] + copy["dur"]) - max(begin, copy["ts"])) for copy in copies for begin, end in merged)
    return {"copies": len(copies), "kernels": len(kernels), "overlap": round(under / total, 3) if total else None}


class Times(Watch):
    """The time of each update."""

    def begin(self, run: Any) -> None:
        self.marks = [perf_counter()]

    def after(self, step: int, loss: Tensor) -> None:
        torch.cuda.synchronize()
        self.marks.append(perf_counter())


def measure_stall(size: Size) -> dict[str, Any]:
    """Milliseconds that an update takes longer for the checkpoint behind it: the first, which allocates, and the rest."""
    every, times = 10 if size is FULL else 2, Times()
    with tempfile.TemporaryDirectory() as folder:
        plugins = [AMP(dtype="bfloat16"), ChannelsLast(), AdamW(), EMA(), times]
        by_accel(size, Clocked(pictures(size, "cuda"), size), plugins, out=Path(folder) / "run", checkpoint_every=every)
    spans = [1000 * (end - begin) for begin, end in zip(times.marks, times.marks[1:], strict=False)]
    usual = median(spans[size.warm :])
    after = [span for number, span in enumerate(spans) if number >= every and number % every == 0]
    return {"unit": "ms", "update": usual, "first checkpoint": after[0] - usual, "later ones": median(after[1:]) - usual}


def measure_oom(size: Size) -> dict[str, Any]:
    """A batch that does not fit: seconds for three updates with the plugin oom, and the pieces that it chose."""
    update = OOM()
    free = torch.cuda.mem_get_info()[0]
    width = 1 << 20 if size is FULL else 1 << 14
    rows = int(0.3 * free / (4 * width)) // 8 * 8  # the batch fits, and what its backward pass keeps does not

    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(width))

        def forward(self, x: Tensor) -> Tensor:
            return (x * self.weight).tanh().square()

    batches = torch.utils.data.DataLoader([torch.ones(rows, width, device="cuda")] * 3, batch_size=None)
    begun = perf_counter()
    Trainer(Wide(), batches, loss=lambda model, x: model(x).mean(), plugins=[update], watch=(), device="cuda").fit()
    return {"seconds": perf_counter() - begun, "batch": rows, "pieces of": update.size}


def guarded(measure: Callable[[], float]) -> float | str:
    """The number, rounded, or the first line of the error: what comes after it is measured all the same."""
    try:
        return round(measure(), 1)
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"


MEASURES = {
    "resnet50": measure_resnet50,
    "input": measure_input,
    "overlap": measure_overlap,
    "stall": measure_stall,
    "oom": measure_oom,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measure", choices=MEASURES)
    parser.add_argument("--small", action="store_true")
    args = parser.parse_args()
    print(json.dumps(MEASURES[args.measure](SMALL if args.small else FULL)))


if __name__ == "__main__":
    main()
