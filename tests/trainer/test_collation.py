"""Samples that make no batch are named, whoever reads them; `collate` is the user's own way out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from accel import Trainer
from accel.data.batches.collation import difference, uncollatable
from accel.errors import ConfigError
from accel.plugins import Threads, Workers


class Odd(Dataset[Any]):
    """Samples of two numbers, and one, number 17, that is `odd`."""

    def __init__(self, odd: Any) -> None:
        self.odd = odd

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> Any:
        return self.odd if index == 17 else (torch.full((2,), float(index)), index)


class Stream(IterableDataset[Any]):
    def __init__(self, odd: Any) -> None:
        self.data = Odd(odd)

    def __iter__(self) -> Any:
        return (self.data[i] for i in range(40))


def fit(data: Any, plugins: Any = (), **settings: Any) -> Any:
    return Trainer(
        nn.Linear(2, 1), data, loss=lambda m, b: m(b[0]).square().mean(), plugins=plugins, watch=(), batch_size=8, **settings
    ).fit()  # fmt: skip


LOADERS: dict[str, Any] = {
    "plain": [], "threads": [Threads(count=2)], "workers": [Workers(count=1)], "resident": ["resident"], "prefetch": ["prefetch"],
}  # fmt: skip
KINDS: dict[str, Any] = {
    "None": None,
    "ragged": (torch.zeros(3), 17),
    "short": (torch.zeros(2),),
    "None inside": (torch.zeros(2), None),
}


@pytest.mark.parametrize("odd", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("plugins", LOADERS.values(), ids=LOADERS)
def test_the_sample_is_named(plugins: Any, odd: Any) -> None:
    with pytest.raises(ConfigError, match=r"sample 17\b.*collate|\b17\b.*leave resident out"):
        fit(Odd(odd), plugins)


@pytest.mark.parametrize("odd", KINDS.values(), ids=KINDS)
def test_a_list_and_a_stream_name_it_too(odd: Any) -> None:
    for data in ([Odd(odd)[i] for i in range(40)], Stream(odd)):
        with pytest.raises(ConfigError, match=r"sample 17\b.*collate"):
            fit(data)


@pytest.mark.parametrize("plugins", LOADERS.values(), ids=LOADERS)
def test_none_is_a_sample_that_cannot_be_read(plugins: Any) -> None:
    result = fit(Odd(None), plugins, bad_data="skip", bad_limit=0.1)
    assert (result.samples, result.bad) == (39, {"train": 1})


def test_labels_that_make_no_batch() -> None:
    class Filled(Dataset[Any]):
        shape, dtype = (2,), np.float32

        def __len__(self) -> int:
            return 40

        def fill(self, index: int, rng: Any, out: Any) -> Any:
            out[...] = index
            return [1, 2] if index == 17 else [1]

    for plugins in ([Threads(count=1)], [Workers(count=1)], []):
        with pytest.raises(ConfigError, match=r"sample 17\b.*collate"):
            fit(Filled(), plugins)


def drop_and_pad(samples: list[Any]) -> Any:
    kept = [sample for sample in samples if sample is not None]
    return torch.stack([x for x, _ in kept]), torch.tensor([y for _, y in kept])


@pytest.mark.parametrize("plugins", [LOADERS[name] for name in ("plain", "threads", "workers", "prefetch")])
def test_collate_makes_the_batch(plugins: Any) -> None:
    class Mine(Trainer):
        def collate(self, samples: list[Any]) -> Any:  # type: ignore[override]
            return drop_and_pad(samples)

    assert [fit(data, plugins, collate=drop_and_pad).samples for data in (Odd(None), [Odd(None)[i] for i in range(40)])] == [39, 39]
    assert fit(Stream(None), collate=drop_and_pad).samples == 39
    mine = Mine(nn.Linear(2, 1), Odd(None), loss=lambda m, b: m(b[0]).square().mean(), plugins=plugins, watch=(), batch_size=8)
    assert mine.fit().samples == 39


def test_collate_goes_before_the_data_sets_own() -> None:
    class Own(Odd):
        def collate(self, samples: Any) -> Tensor:
            raise AssertionError

    assert fit(Own(None), collate=drop_and_pad).samples == 39
    with pytest.raises(ConfigError, match="resident makes batches by itself, and the run has a collate of its own"):
        fit(Odd((torch.zeros(2), 0)), ["resident"], collate=drop_and_pad)


def test_an_error_of_the_users_collate_is_the_users() -> None:
    with pytest.raises(TypeError, match="cannot unpack non-iterable NoneType"):
        fit(Odd(None), collate=lambda samples: torch.stack([x for x, _ in samples]))


def test_differences_in_words() -> None:
    one = {"x": torch.zeros(2), "y": [1, 2]}
    assert difference(one, one) is None
    assert difference(one, {"x": torch.zeros(3), "y": [1, 2]}) == (
        "a tensor of shape (2,) at ['x']",
        "a tensor of shape (3,) at ['x']",
    )
    assert difference(one, {"x": torch.zeros(2), "y": [1]}) == ("a list of 2 at ['y']", "a list of 1 at ['y']")
    assert difference(one, {"x": torch.zeros(2)}) == ("the key 'y'", "no 'y'")
    assert difference(1, 2.5) is None
    assert uncollatable((1, {"a": None})) == "None at ['a']"


def pairs(samples: list[Any]) -> Any:
    """What no other function makes of them."""
    return torch.stack([x for x, _ in samples]) + 100, len(samples)


class WithMethod(Trainer):
    """`collate_fn` as a method of the task."""

    def model(self) -> nn.Module:
        return nn.Linear(2, 1)

    def data(self, split: str) -> Any:
        return Odd((torch.zeros(2), 17)) if split == "train" else None

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        assert batch[0].min() >= 100
        return model(batch[0]).square().mean() * 1e-6

    def collate_fn(self, samples: list[Any]) -> Any:
        return pairs(samples)


class WithAttribute(WithMethod):
    collate_fn = staticmethod(pairs)


class Own(Odd):
    """A data set with the function that its DataLoader would be given."""

    collate_fn = staticmethod(pairs)


def seen(data: Any, **settings: Any) -> Any:
    def loss(model: nn.Module, batch: Any) -> Tensor:
        assert batch[0].min() >= 100
        return model(batch[0]).square().mean() * 1e-6

    return Trainer(nn.Linear(2, 1), data, loss=loss, watch=(), batch_size=8, **settings).fit()


@pytest.mark.parametrize("plugins", [LOADERS[name] for name in ("plain", "threads", "workers", "prefetch")])
def test_collate_fn_by_any_way(plugins: Any) -> None:
    data = Odd((torch.zeros(2), 17))
    ways = (
        lambda: seen(data, collate_fn=pairs, plugins=plugins), lambda: seen(data, collate=pairs, plugins=plugins),
        lambda: seen(Own((torch.zeros(2), 17)), plugins=plugins),
        lambda: WithMethod(plugins=plugins, watch=(), batch_size=8).fit(),
        lambda: WithAttribute(plugins=plugins, watch=(), batch_size=8).fit(),
    )  # fmt: skip
    for way in ways:
        assert way().samples == 40


def test_one_function_under_two_names_is_refused() -> None:
    with pytest.raises(ConfigError, match="collate and collate_fn are two names of one function"):
        seen(Odd(None), collate=pairs, collate_fn=pairs)


def test_a_given_function_goes_before_that_of_the_data() -> None:
    seen(Own((torch.zeros(2), 17)), collate_fn=lambda samples: (torch.full((len(samples), 2), 200.0), 1))


class OfLoader(WithMethod):
    """Hands its own method to the loader that it makes, or forgets to."""

    hands_over = True

    def data(self, split: str) -> Any:
        function = {"collate_fn": self.collate_fn} if self.hands_over else {}
        return DataLoader(Odd((torch.zeros(2), 17)), 8, **function) if split == "train" else None


def test_a_task_may_hand_its_function_to_its_own_loader() -> None:
    assert OfLoader(watch=()).fit().samples == 40
    forgets = OfLoader(watch=())
    forgets.hands_over = False
    with pytest.raises(ConfigError, match="collate makes batches of samples, and the data comes in ready batches"):
        forgets.fit()
    with pytest.raises(ConfigError, match="collate makes batches of samples, and the data comes in ready batches"):
        Trainer(
            nn.Linear(2, 1), DataLoader(Odd((torch.zeros(2), 17)), 8, collate_fn=pairs), loss=lambda m, b: m(b[0]).mean(),
            collate_fn=lambda samples: pairs(samples), watch=(),
        ).fit()  # fmt: skip
