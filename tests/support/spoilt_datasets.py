"""Data sets some of whose samples cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset

from accel import Trainer
from accel.data.batches.bad_samples import BadSampleRule
from accel.data.batches.make_batches import make_batches
from accel.data.batches.mapped import MapBatches
from accel.data.ranks.rank_share import SINGLE_RANK, RankShare
from accel.errors import BadSample, TrainingError
from accel.parts import Part
from accel.testing.toy_run import Spy
from tests.support.sample_datasets import SAMPLES, Plain, md5

SPOILT = frozenset({3, 8, 9, 17})
POLICIES: Any = pytest.mark.parametrize("policy", ["skip", "substitute"])


def spoil(kind: type, bad: frozenset[int] = SPOILT) -> Any:
    """The data set `kind`, without some of its samples."""

    class Spoilt(kind):  # type: ignore[misc]
        def sample(self, index: int, rng: Any) -> Any:
            if index in bad:
                raise BadSample(f"cannot read number {index}; mend it")
            return super().sample(index, rng)

        def __getitem__(self, index: int) -> Any:
            if index in bad:
                raise OSError(f"cannot read number {index}")
            return super().__getitem__(index)

        def fill(self, index: int, rng: Any, out: NDArray[Any]) -> Any:
            out[...] = -1  # a reader that fails has written something by then
            if index in bad:
                raise KeyError(index)
            return super().fill(index, rng, out)

    for name in ("sample", "__getitem__", "fill"):
        if not hasattr(kind, name) or (name == "__getitem__" and kind is not Plain):
            delattr(Spoilt, name)
    if hasattr(kind, "fill_each"):
        Spoilt.fill_each = kind.fill_each  # type: ignore[attr-defined]  # one of a class below counts for that class alone
    return Spoilt()


SHARES = [SINGLE_RANK, RankShare(0, 2), RankShare(1, 2)]


def over(
    kind: type, policy: Any, bad: frozenset[int] = SPOILT, limit: float = 1.0, train: bool = True, share: RankShare = SINGLE_RANK
) -> MapBatches:
    rule = BadSampleRule(policy, limit).for_dataset("train", train)
    batches = make_batches(spoil(kind, bad), 4, seed=3, shuffle=train, share=share, bad=rule)
    assert isinstance(batches, MapBatches)
    return batches


def read(batches: Iterator[Any]) -> list[str]:
    """Of each batch, and of the error that comes after them."""
    actual: list[str] = []
    try:
        for batch in batches:
            actual += md5([batch])
    except (BadSample, TrainingError, OSError, KeyError) as error:
        actual.append(f"{type(error).__name__}: {error}")
    return actual


class Bytes(Dataset[tuple[Tensor, int]]):
    """Pictures in memory, the same in every epoch, some of them bad."""

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if index in SPOILT:
            raise ValueError(f"number {index}")
        return torch.full((2, 3), index, dtype=torch.uint8), index % 2


def train(policy: str, plugins: list[Part], data: Any = Bytes, limit: float = 0.2, stop: int = 0, **more: Any) -> Any:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.Dropout(0.5), nn.Linear(4, 2))
    return Trainer(
        model, data(), data(), lambda model, batch: nn.functional.cross_entropy(model(batch[0] / 23), batch[1]),
        plugins=[Spy(stop=stop), *plugins], watch=(), epochs=2, batch_size=4, seed=1, bad_data=policy, bad_limit=limit, **more,
    ).fit()  # fmt: skip
