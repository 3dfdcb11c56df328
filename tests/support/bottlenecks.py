"""Twenty things that make training slow: for each a healthy run, and the same with that one thing injected.

`make drill` diagnoses all of them (tests/diagnose/test_bottlenecks.py), and `python benchmarks/bottlenecks.py` writes a table.
"""

from __future__ import annotations

import json
import os
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset, TensorDataset

from accel import Trainer
from accel.diagnose.doctor import doctor
from accel.parts import Clip, Grads, Watch
from accel.plugins.accumulate import Accumulate
from accel.plugins.optimizer import Optimizer
from accel.tasks.images import Images
from tests.support.drawn_images import write_noise

Make = Callable[[bool, Path], Trainer]


@dataclass(frozen=True)
class Bottleneck:
    """What is injected into a run, and what the diagnosis must say of it.

    Args:
        make: returns the run, with or without it, given a folder of its own.
        kind: the verdict.
        words: what the sentence of the verdict must have.
    """

    make: Make
    kind: str
    words: tuple[str, ...] = ()


BOTTLENECKS: dict[str, Bottleneck] = {}
RANKED = {
    "computes": ("straggler-bound", "rank 1 computes"),
    "reads": ("straggler-bound", "rank 1 reads"),
}
"""Those of two ranks, by the name of the case in tests/support/slow_rank_cases.py: the verdict, and what its sentence must have."""
PURE = ("memory in the swap",)
"""Those that are cases of tests/diagnose/test_decision.py alone, and cannot be injected: a machine without a swap moves no page."""


def bottleneck(kind: str, *words: str) -> Callable[[Make], Make]:
    """Decorator that puts a function into the list under its name."""

    def put(make: Make) -> Make:
        BOTTLENECKS[make.__name__.replace("_", " ")] = Bottleneck(make, kind, words)
        return make

    return put


@dataclass(frozen=True)
class Named:
    """What the diagnosis of a run came to.

    Args:
        sentence: the verdict.
        is_named: whether it is what the bottleneck must be called.
        seconds: that the diagnosis took.
    """

    sentence: str
    is_named: bool
    seconds: float


def is_named(wanted: Bottleneck, kind: str, sentence: str) -> bool:
    return kind == wanted.kind and all(words in sentence for words in wanted.words)


def diagnose(name: str, ill: bool, folder: Path, seconds: float) -> Named:
    """Diagnose a run with a bottleneck, or without it; torch has one thread, unless there are to be too many."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    wanted = BOTTLENECKS[name]
    diagnosis = doctor(wanted.make(ill, folder), seconds=seconds)
    verdict = diagnosis.verdict
    return Named(verdict.sentence, is_named(wanted, verdict.kind, verdict.sentence), diagnosis.seconds)


class Net(nn.Module):
    """A small convolutional network: on one core a batch of 16 takes it a few milliseconds."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 16, 3, 2, 1), nn.Conv2d(16, 32, 3, 2, 1)
        self.head = nn.Linear(32 * 8 * 8, num_classes)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.head(self.second(self.first(pictures).relu()).relu().flatten(1))  # type: ignore[no-any-return]


class Large(Net):
    """The same, with more to compute: longer than it takes to read small pictures."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        self.first, self.second = nn.Conv2d(3, 64, 3, padding=1), nn.Conv2d(64, 32, 3, 4, 1)


class Deep(nn.Module):
    """Many small layers."""

    def __init__(self, layers: int, width: int, classes: int = 10) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        self.head = nn.Linear(width, classes)

    def forward(self, points: Tensor) -> Tensor:
        for layer in self.layers:
            points = layer(points).relu()
        return self.head(points)  # type: ignore[no-any-return]


def loss(model: nn.Module, batch: Any) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def pictures(count: int = 512) -> TensorDataset:
    return TensorDataset(torch.randn(count, 3, 32, 32), torch.arange(count) % 10)


def points(count: int, width: int) -> TensorDataset:
    return TensorDataset(torch.randn(count, width), torch.arange(count) % 10)


def training(model: nn.Module | None = None, data: Any = None, **settings: Any) -> Trainer:
    """The run that everything is injected into: small pictures in memory, a network that computes."""
    settings = {"loss": loss, "batch_size": 16, "watch": (), **settings}
    return Trainer(Net() if model is None else model, pictures() if data is None else data, **settings)


# what brings the data


@bottleneck("data-bound", "busy", "PIL")
def slow_decode(ill: bool, folder: Path) -> Trainer:
    """Pictures that are far larger than the model wants, decoded by Pillow."""
    root = folder / f"pictures-{ill}"
    if not root.exists():
        write_noise(root, {"train": 32, "test": 4}, *((480, 640) if ill else (32, 32)))
    return Images(str(root), size=32, model=f"{__name__}.Large", batch_size=8, watch=(), evaluate_epochs=1, epochs=20)


class Throttled(Dataset[Any]):
    """Records of a file on a disk that gives so many bytes a second."""

    def __init__(self, path: Path, rate: float) -> None:
        self.size, self.seconds = 3 * 32 * 32, 3 * 32 * 32 / rate
        self.file = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self.file)

    def __len__(self) -> int:
        return 512

    def read(self, place: int) -> bytes:
        if self.seconds > 1e-3:
            time.sleep(self.seconds)  # the disk
        return os.pread(self.file, self.size, place * self.size)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        record = np.frombuffer(self.read(index), np.uint8).astype(np.float32) / 255
        return torch.from_numpy(record.reshape(3, 32, 32)), index % 10


@bottleneck("data-bound", "the processor is idle", "# the disk")
def slow_disk(ill: bool, folder: Path) -> Trainer:
    """A disk that reads a megabyte a second."""
    path = folder / "records"
    path.write_bytes(np.random.default_rng(0).bytes(512 * 3 * 32 * 32))
    return training(data=Throttled(path, 1e6 if ill else 1e9))


class Sleeping(Dataset[Any]):
    """Pictures of a server that answers after a while."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.pictures = seconds, torch.randn(512, 3, 32, 32)

    def __len__(self) -> int:
        return 512

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if self.seconds:
            time.sleep(self.seconds)
        return self.pictures[index], index % 10


@bottleneck("data-bound", "the processor is idle", "time.sleep(self.seconds)")
def sleeping_sample(ill: bool, folder: Path) -> Trainer:
    """Samples that are waited for."""
    return training(data=Sleeping(0.004 if ill else 0.0))


class Augmented(Dataset[Any]):
    """Pictures that are turned a little before they are made small."""

    def __init__(self, turns: bool) -> None:
        rng = np.random.default_rng(0)
        side = 256 if turns else 32
        self.turns = turns
        self.pictures = [Image.fromarray(rng.integers(256, size=(side, side, 3), dtype=np.uint8)) for _ in range(64)]

    def __len__(self) -> int:
        return 512

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        picture = self.pictures[index % 64]
        if self.turns:
            picture = picture.rotate(7, resample=Image.Resampling.BICUBIC).resize((32, 32))
        pixels = np.asarray(picture, np.float32).transpose(2, 0, 1) / 255
        return torch.from_numpy(np.ascontiguousarray(pixels)), index % 10


@bottleneck("data-bound", "busy", "picture.rotate(")
def slow_augmentation(ill: bool, folder: Path) -> Trainer:
    """A rotation of each large picture by Pillow."""
    return training(data=Augmented(turns=ill))


class Sentences(Dataset[Any]):
    """Lists of numbers of words, of different lengths."""

    def __len__(self) -> int:
        return 512

    def __getitem__(self, index: int) -> list[int]:
        return [(index * place) % 100 for place in range(128 + index % 64)]


def padded(sentences: list[list[int]]) -> Tensor:
    """A batch, a row for each sentence, made in one go."""
    longest = max(map(len, sentences))
    return torch.tensor([sentence + [0] * (longest - len(sentence)) for sentence in sentences])


def padded_slowly(sentences: list[list[int]]) -> Tensor:
    """The same, number by number."""
    batch = torch.zeros(len(sentences), max(map(len, sentences)), dtype=torch.int64)
    for row, sentence in enumerate(sentences):
        for column, word in enumerate(sentence):
            batch[row, column] = word  # one by one
    return batch


class Words(nn.Module):
    """A network on sentences."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.layers = nn.Embedding(100, 16), nn.Linear(16, 100)

    def forward(self, words: Tensor) -> Tensor:
        return self.layers(self.words(words))  # type: ignore[no-any-return]


def loss_of_words(model: nn.Module, words: Tensor) -> Tensor:
    return F.cross_entropy(model(words[:, :-1]).flatten(0, 1), words[:, 1:].flatten())


@bottleneck("data-bound", "# one by one")
def slow_collate(ill: bool, folder: Path) -> Trainer:
    """Batches that are filled number by number."""
    return training(Words(), Sentences(), loss=loss_of_words, collate=padded_slowly if ill else padded)


# what is launched


@bottleneck("host-bound", "a batch of 1 takes")
def tiny_batch(ill: bool, folder: Path) -> Trainer:
    """One sample in each update."""
    return training(Deep(4, 256), points(2048, 256), batch_size=1 if ill else 1024)


@bottleneck("host-bound", "4 micro-batches of 2")
def tiny_micro_batches(ill: bool, folder: Path) -> Trainer:
    """A batch in pieces that are far smaller than memory asks for."""
    pieces = [Accumulate(steps=4)] if ill else []
    return training(Deep(4, 256), points(2048, 256), batch_size=2 if ill else 1024, plugins=pieces)


@bottleneck("host-bound", "before its first sample")
def many_small_operations(ill: bool, folder: Path) -> Trainer:
    """A network of many small layers in the place of a few large ones."""
    model = Deep(80, 16) if ill else Deep(3, 512)
    return training(model, points(512, 16 if ill else 512), batch_size=16 if ill else 512)


class Scaled(Deep):
    """A network that looks at the numbers of each sample on the host."""

    def forward(self, points: Tensor) -> Tensor:
        scales = []
        for point in points:
            largest = point.max().item()  # read in forward
            scales.append(1 / largest if largest > 0 else 1.0)
        return super().forward(points * torch.tensor(scales).view(-1, 1))


@bottleneck("host-bound", "numbers are read on the host", "# read in forward")
def host_reads_in_forward(ill: bool, folder: Path) -> Trainer:
    """A number of each sample that the model reads on the host."""
    return training((Scaled if ill else Deep)(2, 64), points(2048, 64), batch_size=256)


def weighted(model: nn.Module, batch: Any) -> Tensor:
    """The loss, each sample weighted by how often its class is there."""
    inputs, labels = batch
    weights = [1.0 + 0.1 * float((labels == label).sum()) for label in labels]  # read in the loss
    losses = F.cross_entropy(model(inputs), labels, reduction="none")
    return (losses * torch.tensor(weights)).mean()


@bottleneck("host-bound", "numbers are read on the host", "# read in the loss")
def host_reads_in_loss(ill: bool, folder: Path) -> Trainer:
    """A number of each sample that the loss reads on the host."""
    return training(Deep(2, 64), points(2048, 64), batch_size=256, loss=weighted if ill else loss)


class Explaining(Trainer):
    """A task whose loss makes a text of each sample, for people to read."""

    explains = False

    def loss(self, model: nn.Module, batch: Any) -> Any:
        if self.explains:
            rows = batch[0].tolist()
            self.text = "\n".join(" ".join(f"{number:.3f}" for number in row) for row in rows)  # a text of it
        return F.cross_entropy(model(batch[0]), batch[1])


@bottleneck("host-bound", "# a text of it")
def slow_loss_of_a_task(ill: bool, folder: Path) -> Trainer:
    """A method of a Trainer that does something else in every update."""
    trainer = Explaining(Deep(2, 64), points(2048, 64), batch_size=256, watch=())
    trainer.explains = ill
    return trainer


def squeezed(grad: Tensor) -> Tensor:
    """A gradient with each of its rows limited."""
    rows = [row / max(1.0, float(row.norm())) for row in grad.view(len(grad), -1)]  # row by row
    return torch.stack(rows).view_as(grad)


@bottleneck("host-bound", "# row by row")
def slow_gradient_hooks(ill: bool, folder: Path) -> Trainer:
    """Hooks of the user's on the gradients."""
    model = Deep(4, 128)
    if ill:
        for param in model.parameters():
            param.register_hook(squeezed)
    return training(model, points(512, 128), batch_size=128)


@bottleneck("thread-bound", "16 threads on")
def too_many_threads(ill: bool, folder: Path) -> Trainer:
    """Sixteen threads on two cores."""
    torch.set_num_threads(16 if ill else 1)
    return training()


# what moves the weights


class Loop(torch.optim.Optimizer):
    """An optimiser that is written down as its paper has it: parameter by parameter, row by row."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for param in group["params"]:
                for row, grad in zip(param, param.grad, strict=True):
                    row -= group["lr"] * grad / (grad.abs().mean() + 1e-8)  # as in the paper


@bottleneck("optimiser-bound", "# as in the paper")
def slow_optimiser(ill: bool, folder: Path) -> Trainer:
    """An optimiser of the user's own, in a loop of Python."""
    return training(Deep(4, 128), points(512, 128), batch_size=128, plugins=[Optimizer(target=Loop)] if ill else [])


class Bag(nn.Module):
    """A network on the mean of the words of a sentence."""

    def __init__(self, words: int) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(words, 32), nn.Linear(32, 10)

    def forward(self, words: Tensor) -> Tensor:
        return self.head(self.words(words).mean(1))  # type: ignore[no-any-return]


@bottleneck("optimiser-bound", "of the 6.4 million weights are words.weight")
def huge_embedding(ill: bool, folder: Path) -> Trainer:
    """A table of words that AdamW moves in full, of which a batch uses little."""
    words = 200_000 if ill else 1000
    data = TensorDataset(torch.randint(1000, (2048, 64)), torch.arange(2048) % 10)
    return training(Bag(words), data, batch_size=128, plugins=["adamw"])


@dataclass(eq=False)
class Squeeze(Clip):
    """Clipping of each row of each gradient by itself."""

    def limit(self, grads: Grads) -> Grads:
        for grad in grads.writable():
            for row in grad:
                row /= row.norm().clamp(min=1.0)  # clip it
        return grads


@bottleneck("optimiser-bound", "# clip it")
def slow_clipping(ill: bool, folder: Path) -> Trainer:
    """Clipping of the user's own, in a loop of Python."""
    return training(Deep(4, 128), points(512, 128), batch_size=128, plugins=[Squeeze()] if ill else [])


# what comes now and then


@bottleneck("evaluation-bound")
def evaluation_too_often(ill: bool, folder: Path) -> Trainer:
    """An evaluation after each update."""
    return training(val=pictures(256), evaluate_every=1 if ill else 16)


def ranked(model: nn.Module, batch: Any) -> dict[str, Any]:
    """The share of the samples whose class is among the three likeliest, sample by sample."""
    pairs = zip(model(batch[0]), batch[1], strict=True)
    hits = [int(label) in row.softmax(0).sort(descending=True).indices[:3].tolist() for row, label in pairs]  # sample by sample
    return {"accuracy": sum(hits) / len(hits)}


def accuracy(model: nn.Module, batch: Any) -> dict[str, Any]:
    return {"accuracy": (model(batch[0]).argmax(1) == batch[1]).float().mean()}


@bottleneck("evaluation-bound", "# sample by sample")
def slow_metric(ill: bool, folder: Path) -> Trainer:
    """A metric that goes through the samples one by one."""
    metrics = ranked if ill else accuracy
    return training(Deep(2, 64), points(4096, 64), val=points(4096, 64), batch_size=64, metrics=metrics)


@bottleneck("checkpoint-bound")
def checkpoints_too_often(ill: bool, folder: Path) -> Trainer:
    """A checkpoint of a large model after each update."""
    every = {"checkpoint_every": 1} if ill else {}
    return training(Deep(2, 1024), points(2048, 1024), batch_size=8, out=folder / "run", epochs=50, checkpoint_epochs=50, **every)


@dataclass(eq=False)
class History(Watch):
    """Losses and norms of all weights, in a file that is written anew after each update."""

    def begin(self, run: Any) -> None:
        self.model, self.rows = run.unwrapped_model, [{"loss": 0.0}] * 500
        self.path = Path("history.json")

    def after(self, step: int, loss: Tensor) -> None:
        self.rows.append({"loss": loss.item(), **{name: p.detach().norm().item() for name, p in self.model.named_parameters()}})
        self.path.write_text(json.dumps(self.rows[-500:] * 3, indent=1))  # log all of it


@bottleneck("watch-bound", "history takes", "# log all of it")
def logging_each_update(ill: bool, folder: Path) -> Trainer:
    """A watch of the user's that writes all it has seen after each update."""
    return training(watch=[History()] if ill else ())
