"""The arms of the input benchmark: who feeds a model, from which pictures, and what was aimed at.

`load(arm)` imports all that an arm needs and gives a function of a `Job`, which gives batches without end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

PLAIN, SMALL = "DataLoader + PIL, float", "CIFAR-10: DataLoader + PIL, float"
"""What the others are compared with, on the photographs and on CIFAR-10."""


@dataclass(frozen=True)
class Job:
    """What every arm is to do.

    Args:
        work: the folder of the stores; the pictures are in `pictures/<class>/`.
        cifar: the folder of CIFAR-10's pictures, `train/<class>/*.jpg`.
        cores: threads or processes that read.
        seed: of order and crops.
    """

    work: Path
    cifar: Path | None
    cores: int
    seed: int
    batch: int = 64
    side: int = 224


Feed = Callable[[Job], Iterator[Any]]


@dataclass(frozen=True)
class Arm:
    """One arm.

    Args:
        feed: the module in this package with its function `feed(job, store, **options)`.
        store: what it reads, a name in `STORES`; `files` are the pictures themselves.
        options: handed to the function.
        target: how many times the plain arm's rate it must reach.
        base: the arm that it is compared with.
    """

    feed: str
    store: str = "files"
    options: dict[str, Any] = field(default_factory=dict)
    target: float | None = None
    base: str = PLAIN

    @property
    def ours(self) -> bool:
        """Whether it is accel that feeds."""
        return self.feed in ("ours", "resident")

    @property
    def peer(self) -> bool:
        """Whether it is run by the interpreter of the peers."""
        return not self.ours and self.feed not in ("plain", "bare")


STORES: dict[str, tuple[str, list[str]]] = {
    "lmdb": ("original.lmdb", []),
    "tiled-lossless": ("lossless.lmdb", ["--encoding", "tiled-lossless"]),
    "tiled-500": ("tiled500.lmdb", ["--encoding", "tiled", "--max-side", "500"]),
    "tiled-256": ("tiled256.lmdb", ["--encoding", "tiled", "--short-side", "256"]),
    "jpeg-256": ("jpeg256.lmdb", ["--encoding", "jpeg", "--short-side", "256"]),
    "raw-256": ("raw256.raw", ["--format", "raw", "--short-side", "256"]),
}
"""What `python -m accel pack` makes of the pictures: a file, and the flags for it."""
CIFAR, CIFAR_RAW = "cifar", "cifar-raw"
"""CIFAR-10: the store of its files, and that of their pixels."""
SMALL_STORES: dict[str, tuple[str, list[str]]] = {CIFAR: ("cifar.lmdb", []), CIFAR_RAW: ("cifar.raw", ["--format", "raw"])}
ARMS: dict[str, Arm] = {
    PLAIN: Arm("plain"),
    "original files, threads": Arm("ours", target=2.5),
    "original files, threads, same pixels as PIL": Arm("ours", options={"decoder": "simplejpeg", "filter": "antialias"}),
    "original files, workers": Arm("ours", options={"by": "workers"}),
    "lmdb of the files": Arm("ours", "lmdb"),
    "tiled-lossless": Arm("ours", "tiled-lossless", target=3.1),
    "tiled, max side 500": Arm("ours", "tiled-500", target=6.0),
    "tiled, max side 500, area": Arm("ours", "tiled-500", {"filter": "area"}, target=4.0),
    "tiled, short side 256": Arm("ours", "tiled-256", target=9.0),
    "tiled, short side 256, area": Arm("ours", "tiled-256", {"filter": "area"}, target=7.5),
    "tiled, short side 256, workers": Arm("ours", "tiled-256", {"by": "workers"}, 9.0),
    "tiled, short side 256, area, workers": Arm("ours", "tiled-256", {"by": "workers", "filter": "area"}, 7.5),
    "jpeg, short side 256": Arm("ours", "jpeg-256"),
    "raw, short side 256": Arm("ours", "raw-256", target=24.0),
    "raw, short side 256, area": Arm("ours", "raw-256", {"filter": "area"}, target=16.0),
    "raw, short side 256, workers": Arm("ours", "raw-256", {"by": "workers"}, 24.0),
    "3 threads, tiled, short side 256": Arm("ours", "tiled-256", {"threads": 3}),
    "3 threads, raw, short side 256": Arm("ours", "raw-256", {"threads": 3}),
    "bare work, tiled, short side 256": Arm("bare", "tiled-256"),
    "bare work, raw, short side 256": Arm("bare", "raw-256"),
}
SMALL_ARMS: dict[str, Arm] = {
    SMALL: Arm("plain", CIFAR, base=SMALL),
    "CIFAR-10: raw store, threads": Arm("ours", CIFAR_RAW, {"crop": "pad"}, 10.0, SMALL),
    "CIFAR-10: lmdb of the files, threads": Arm("ours", CIFAR, {"crop": "pad"}, base=SMALL),
    "CIFAR-10: resident": Arm("resident", CIFAR_RAW, target=30.0, base=SMALL),
}
PEERS: dict[str, Arm] = {
    "DALI, CPU, decodes a region": Arm("dali", options={"region": True}),
    "DALI, CPU": Arm("dali"),
    "SPDL + simplejpeg, 16 a task": Arm("spdl"),
    "WebDataset + PIL, float": Arm("webdataset"),
    "WebDataset + OpenCV": Arm("webdataset", options={"by": "opencv"}),
    "timm": Arm("timm"),
    "FFCV, jpeg, max side 500": Arm("ffcv", "ffcv-jpeg-500"),
    "FFCV, jpeg, short side 256": Arm("ffcv", "ffcv-jpeg-256"),
    "FFCV, raw, short side 256": Arm("ffcv", "ffcv-raw-256"),
}


def every() -> dict[str, Arm]:
    """All arms by name."""
    return ARMS | SMALL_ARMS | PEERS


def load(arm: Arm) -> Feed:
    """Imports what it needs."""
    feed = import_module(f"feeds.{arm.feed}").feed
    return lambda job: feed(job, arm.store, **arm.options)
