"""Tables of the package datasets: rows of dicts in every format, the same batches whoever reads them, and after a resume."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from accel import Trainer
from accel.data.batches.make_batches import make_batches
from accel.errors import ConfigError
from accel.plugins.augment import Augment
from tests.support.loader_runs import Batches, all_equal, digest_of, run_through

datasets: Any = pytest.importorskip("datasets")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::accel.errors.AccelWarning")]
ROWS, FEATURES, CLASSES = 23, 5, 3


def table(rows: int = ROWS) -> Any:
    rng = np.random.default_rng(4)
    return datasets.Dataset.from_dict(
        {
            "x": rng.normal(size=(rows, FEATURES)).astype(np.float32).tolist(), "label": (np.arange(rows) % CLASSES).tolist(),
            "name": [f"row {number}" for number in range(rows)],
        }
    ).cast_column("label", datasets.ClassLabel(names=["a", "b", "c"]))  # fmt: skip


def loss_of(spy: Batches) -> Callable[[nn.Module, Any], Tensor]:
    def loss(model: nn.Module, batch: Any) -> Tensor:
        spy.see(model, batch)
        return nn.functional.cross_entropy(model(batch["x"].float()), batch["label"])

    return loss


def trainer_of(data: Any, spy: Batches, **settings: Any) -> Trainer:
    given = {"batch_size": 4, "epochs": 2, **settings}
    return Trainer(nn.Linear(FEATURES, CLASSES), data, loss=loss_of(spy), seed=3, **given)


def noisy(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """A transform of the user's own, which draws."""
    return {
        "x": [torch.tensor(x) + 0.1 * torch.randn(FEATURES) + random.random() + np.random.rand() for x in rows["x"]],
        "label": rows["label"],
    }


def still(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
    return {"x": [2 * torch.tensor(x) for x in rows["x"]], "label": rows["label"]}


FORMATS: dict[str, Callable[[Any], Any]] = {
    "torch": lambda data: data.with_format("torch"),
    "some columns": lambda data: data.with_format("torch", columns=["x", "label"]),
    "numpy": lambda data: data.with_format("numpy"),
    "transform": lambda data: data.with_transform(still),
    "random transform": lambda data: data.with_transform(noisy),
    "subset": lambda data: Subset(data.with_format("torch"), range(1, 21)),
    "selected": lambda data: data.with_format("torch").select(range(2, 20)).shuffle(seed=1),
    "mapped": lambda data: data.map(lambda row: {"x": [2 * number for number in row["x"]]}).with_format("torch"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_rows_in_each_format(name: str, tmp_path: Path) -> None:
    def make(spy: Batches, **settings: Any) -> Trainer:
        return trainer_of(FORMATS[name](table()), spy, **settings)

    all_equal(make, tmp_path)


@pytest.mark.parametrize("name", ["torch", "some columns", "numpy", "transform", "mapped"])
def test_rows_read_together_are_those_read_one_by_one(name: str) -> None:
    data = FORMATS[name](table())
    batches = make_batches(data, 4)
    expected = [
        torch.utils.data.default_collate([data[index] for index in range(start, min(start + 4, ROWS))])
        for start in range(0, ROWS, 4)
    ]
    assert list(map(digest_of, batches.epoch(0))) == list(map(digest_of, expected))
    assert list(map(digest_of, DataLoader(data, 4))) == list(map(digest_of, expected))


def test_a_transform_that_pads_its_rows_is_given_a_whole_batch(tmp_path: Path) -> None:
    """As by a DataLoader: a function that is given the texts of a batch makes them one length."""
    words = datasets.Dataset.from_dict(
        {"text": ["a" * (1 + number % 7) for number in range(ROWS)], "label": [number % 3 for number in range(ROWS)]}
    )

    def padded(rows: dict[str, list[Any]]) -> dict[str, Any]:
        longest = max(map(len, rows["text"]))
        codes = [[ord(letter) for letter in text.ljust(longest)] for text in rows["text"]]
        return {"codes": torch.tensor(codes), "label": torch.tensor(rows["label"])}

    def make(spy: Batches, **settings: Any) -> Trainer:
        def loss(model: nn.Module, batch: Any) -> Tensor:
            spy.see(model, batch)
            return nn.functional.cross_entropy(model(batch["codes"]).mean(1), batch["label"])

        return Trainer(nn.Embedding(128, 3), words.with_transform(padded), loss=loss, seed=3, epochs=1, batch_size=4, **settings)

    all_equal(make, tmp_path)


def test_pictures_and_texts(tmp_path: Path) -> None:
    from PIL import Image

    pictures = [Image.fromarray(np.full((8, 8, 3), 10 * number, np.uint8)) for number in range(12)]
    data = datasets.Dataset.from_dict({"image": pictures, "label": [number % 3 for number in range(12)], "text": ["a", "bc"] * 6})
    data = data.cast_column("image", datasets.Image())

    def make(spy: Batches, **settings: Any) -> Trainer:
        def loss(model: nn.Module, batch: Any) -> Tensor:
            spy.see(model, batch)
            assert batch["image"].dtype == torch.uint8
            assert isinstance(batch["text"][0], str)
            return nn.functional.cross_entropy(model(batch["image"].float().flatten(1) / 255), batch["label"])

        return Trainer(nn.Linear(192, 3), data.with_format("torch"), loss=loss, seed=3, epochs=1, batch_size=4, **settings)

    all_equal(make, tmp_path, ["plain", "workers", "threads prefetch"], stop=2)


def test_pictures_without_a_format_get_a_sentence() -> None:
    from PIL import Image

    data = datasets.Dataset.from_dict({"image": [Image.new("RGB", (4, 4))] * 4}).cast_column("image", datasets.Image())
    with pytest.raises(ConfigError, match=r"has an? PngImageFile at \['image'\], which torch cannot collate; give collate"):
        Trainer(nn.Linear(1, 1), data, loss=lambda model, batch: batch, watch=(), device="cpu").fit()


@pytest.mark.parametrize("column", ["x", "inside"])
def test_lists_in_rows_get_a_sentence(column: str) -> None:
    """torch would make a batch of each place of them, transposed."""
    data = table() if column == "x" else datasets.Dataset.from_dict({"inside": [{"box": [1.0, 2.0]}] * 4})
    place = r"\['x'\]" if column == "x" else r"\['inside'\]\['box'\]"
    for kind in (data, data.to_iterable_dataset(), Subset(data, range(4))):
        spy = Batches()
        with pytest.raises(
            ConfigError, match=rf"row \d+ of the (train|streamed) data has a list at {place}.*set_format\('torch'\)"
        ):
            trainer_of(kind, spy, watch=(), device="cpu").fit()


def test_lists_are_what_a_collate_makes_of_them(tmp_path: Path) -> None:
    def make(spy: Batches, **settings: Any) -> Trainer:
        def collate_fn(rows: list[dict[str, Any]]) -> Any:
            return {"x": torch.tensor([row["x"] for row in rows]), "label": torch.tensor([row["label"] for row in rows])}

        return trainer_of(table(), spy, collate_fn=collate_fn, **settings)

    all_equal(make, tmp_path, ["plain", "workers", "threads"])


def test_a_dict_of_tables_gets_a_sentence() -> None:
    whole = datasets.DatasetDict({"train": table(), "test": table()})
    with pytest.raises(
        ConfigError, match=r"data is a DatasetDict of data sets, 'train' and 'test'; pass one of them, such as data\['train'\]"
    ):
        trainer_of(whole, Batches(), watch=(), device="cpu").fit()


def test_a_dict_of_tables_is_evaluated_by_name() -> None:
    whole = datasets.DatasetDict({"one": table().with_format("torch"), "two": table(7).with_format("torch")})
    spy = Batches()
    result = trainer_of(table().with_format("torch"), spy, val=whole, watch=(), device="cpu").fit()
    assert set(result.metrics) == {"one/loss", "two/loss"}


@pytest.mark.parametrize("shuffled", [False, True])
def test_a_stream_is_read_in_its_order(shuffled: bool, tmp_path: Path) -> None:
    def make(spy: Batches, **settings: Any) -> Trainer:
        stream = table().to_iterable_dataset(num_shards=2).with_format("torch")
        return trainer_of(stream.shuffle(seed=5, buffer_size=7) if shuffled else stream, spy, **settings)

    plain = all_equal(make, tmp_path, ["plain", "prefetch"])
    first, second = plain.seen[:6], plain.seen[6:]
    assert len(second) == 6
    assert (first == second) is not shuffled, "set_epoch tells a stream to shuffle anew"


def test_a_mapped_stream_that_draws(tmp_path: Path) -> None:
    def make(spy: Batches, **settings: Any) -> Trainer:
        stream = table().to_iterable_dataset().map(lambda row: {"x": [number + random.random() for number in row["x"]]})
        return trainer_of(stream.with_format("torch"), spy, **settings)

    all_equal(make, tmp_path, ["plain", "prefetch"])


def test_classes_are_known_from_the_features() -> None:
    """As `augment` needs them."""
    augment = Augment(label_smoothing=0.1)

    def loss(model: nn.Module, batch: Any) -> Tensor:
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    data = table().with_format("torch")
    collate = lambda rows: (torch.stack([row["x"] for row in rows]), torch.stack([row["label"] for row in rows]))  # noqa: E731
    Trainer(
        nn.Linear(FEATURES, CLASSES), data, loss=loss, collate=collate, plugins=[augment], watch=(), device="cpu", epochs=1
    ).fit()
    assert augment.classes == CLASSES


def test_a_dataloader_of_a_table(tmp_path: Path) -> None:
    def make(spy: Batches, **settings: Any) -> Trainer:
        loader = DataLoader(table().with_format("torch"), 4, shuffle=True)
        return trainer_of(loader, spy, **{**settings, "batch_size": None})

    all_equal(make, tmp_path, ["plain", "prefetch"])
    assert run_through(make, "plain").seen
