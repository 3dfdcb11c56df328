"""Data sets that draw random numbers, each in another way that people have."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, IterableDataset, Subset, default_collate

SAMPLES, RARE = 19, 11


class Draws(Dataset[Tensor]):
    """Samples with a number that a function draws.

    Args:
        draw: draws it, from (self, index).
    """

    def __init__(self, draw: Callable[[Any, int], Any] | None = None) -> None:
        self.draw = draw

    def __len__(self) -> int:
        return SAMPLES

    def number(self, index: int) -> float:
        return float(self.draw(self, index)) if self.draw else 0.0

    def __getitem__(self, index: int) -> Tensor:
        return torch.tensor([float(index), self.number(index)], dtype=torch.float64)


def of_torch(_: Any, index: int) -> Any:
    return torch.rand(())


def of_python(_: Any, index: int) -> Any:
    return random.gauss(0, 1)


def of_numpy(_: Any, index: int) -> Any:
    return np.random.randn()


def of_all(data: Any, index: int) -> Any:
    return of_torch(data, index) + of_python(data, index) * of_numpy(data, index)


def now_and_then(data: Any, index: int) -> Any:
    return of_all(data, index) if index == RARE else 0.0


def seeding_itself(_: Any, index: int) -> Any:
    random.seed(index)
    np.random.seed(index)
    torch.manual_seed(index)
    return of_all(_, index)


OF_MODULE = np.random.default_rng(5)


def of_module(_: Any, index: int) -> Any:
    return OF_MODULE.random()


class Transform:
    """A transform with generators of its own, as those of albumentations have."""

    def __init__(self) -> None:
        self.random_generator, self.py_random = np.random.default_rng(), random.Random()
        self.others = [np.random.RandomState(), torch.Generator(), np.random.Generator(np.random.MT19937())]

    def __call__(self, value: float) -> float:
        legacy, own, twister = self.others
        numbers = [self.random_generator.normal(), self.py_random.random(), legacy.randn(), twister.random()]  # type: ignore[union-attr]
        return value + sum(numbers) + float(torch.rand((), generator=own))  # type: ignore[call-overload]


class Held(Draws):
    """Has a transform with generators of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.transforms = {"train": [Transform()]}

    def number(self, index: int) -> float:
        return self.transforms["train"][0](0.0)


class Lazy(Draws):
    """Makes its generator when it first needs it, from the system's entropy."""

    rng: Any = None

    def number(self, index: int) -> float:
        if self.rng is None:
            self.rng = np.random.default_rng()
        return float(self.rng.random())


class OnePerClass(Draws):
    """Has a generator for each of many classes."""

    def __init__(self) -> None:
        super().__init__()
        self.rngs = {number: np.random.default_rng(number) for number in range(100)}

    def number(self, index: int) -> float:
        return float(self.rngs[99 - index % 3].random())


class Bits(Draws):
    """Draws bits from numpy's bit generator itself."""

    def __init__(self) -> None:
        super().__init__()
        self.bits = np.random.PCG64(3)

    def number(self, index: int) -> float:
        return float(self.bits.random_raw() % 2**20)


class Enclosed(Draws):
    """Has its generator in a function alone."""

    def __init__(self) -> None:
        super().__init__(partial(from_generator, rng=random.Random()))


def from_generator(_: Any, index: int, rng: random.Random) -> float:
    return rng.random()


class Collated(Draws):
    """Draws when a batch is made, as mixup in collate does."""

    def collate(self, samples: list[Tensor]) -> Tensor:
        batch: Tensor = default_collate(samples)
        return batch * np.random.beta(0.3, 0.3) + batch[torch.randperm(len(batch))] * random.random()


class Given(Draws):
    """Is given random numbers, and draws others beside them."""

    def sample(self, index: int, rng: np.random.Generator) -> Tensor:
        return self[index] + rng.random()


class Written(Draws):
    """Writes into given memory, and draws."""

    shape, dtype = (2,), np.float64
    __getitem__ = Dataset.__getitem__

    def fill(self, index: int, rng: np.random.Generator, out: NDArray[np.float64]) -> int:
        out[:] = index, self.number(index) + rng.random()
        return index


class AtOnce(Written):
    """Writes several at once, and draws."""

    can_fill_all = True

    def fill_all(self, keys: list[int], seed: int, epoch: int, out: NDArray[np.float64]) -> list[int]:
        rng = np.random.default_rng()
        return [self.fill(key, rng, row) for key, row in zip(keys, out, strict=True)]


class Several(Draws):
    """Can be asked for several samples at once."""

    def __getitems__(self, indices: list[int]) -> list[Tensor]:
        return [self[index] for index in indices]


DRAWING: dict[str, Callable[[], Any]] = {
    "nothing": Draws,
    "torch": partial(Draws, of_torch),
    "python": partial(Draws, of_python),
    "numpy": partial(Draws, of_numpy),
    "all": partial(Draws, of_all),
    "now and then": partial(Draws, now_and_then),
    "seeding itself": partial(Draws, seeding_itself),
    "of the module": partial(Draws, of_module),
    "held": Held,
    "lazy": Lazy,
    "one for each class": OnePerClass,
    "bits": Bits,
    "enclosed": Enclosed,
    "collated": Collated,
    "collated and drawn": partial(Collated, of_all),
    "given": partial(Given, of_all),
    "written": partial(Written, of_all),
    "written now and then": partial(Written, now_and_then),
    "at once": partial(AtOnce, of_numpy),
    "several": partial(Several, of_torch),
    "a subset": lambda: Subset(Held(), range(4, 19)),
    "joined": lambda: ConcatDataset([Held(), Draws(of_python)]),
}
"""Data sets by what they draw from."""


class Stream(IterableDataset[Tensor]):
    """A stream that shuffles and draws.

    Args:
        draw: draws a number, from (self, index).
        since: the first sample for which it is called.
    """

    def __init__(self, draw: Callable[[Any, int], Any], since: int = 0) -> None:
        self.draw, self.since, self.rng = draw, since, np.random.default_rng()

    def __iter__(self) -> Iterator[Tensor]:
        order = np.random.permutation(SAMPLES).tolist() if self.since == 0 else range(SAMPLES)
        for place, index in enumerate(order):
            yield torch.tensor([float(index), float(self.draw(self, index)) if place >= self.since else 0.0], dtype=torch.float64)


def of_stream(data: Any, index: int) -> Any:
    return data.rng.random()


STREAMS: dict[str, Callable[[], Any]] = {
    "nothing": partial(Stream, lambda _, index: 0.0, since=1),
    "torch": partial(Stream, of_torch),
    "all": partial(Stream, of_all),
    "held": partial(Stream, of_stream),
    "late": partial(Stream, of_all, since=14),
}
