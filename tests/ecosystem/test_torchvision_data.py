"""torchvision's data sets and transforms, and timm's: the same batches whoever reads them, and after a resume."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from accel import Trainer
from tests.support.drawn_images import drawing
from tests.support.loader_runs import Batches, all_equal
from tests.support.torchvision_ops import import_torchvision

torchvision: Any = import_torchvision()
from torchvision import transforms as v1  # noqa: E402
from torchvision.transforms import v2  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::accel.errors.AccelWarning")]
SIZE, CLASSES = 16, 3


def version_1() -> Any:
    return v1.Compose(
        [
            v1.RandomResizedCrop(SIZE), v1.RandomHorizontalFlip(), v1.ColorJitter(0.2, 0.2, 0.2, 0.1), v1.RandAugment(2, 7),
            v1.ToTensor(), v1.RandomErasing(0.5),
        ]
    )  # fmt: skip


def version_2() -> Any:
    return v2.Compose(
        [
            v2.ToImage(), v2.RandomResizedCrop(SIZE, antialias=True), v2.RandomHorizontalFlip(), v2.TrivialAugmentWide(),
            v2.ToDtype(torch.float32, scale=True), v2.RandomErasing(0.5),
        ]
    )  # fmt: skip


def of_timm(augmentation: str = "rand-m9-mstd0.5-inc1") -> Any:
    data = pytest.importorskip("timm.data")
    return data.create_transform(
        SIZE, is_training=True, auto_augment=augmentation, re_prob=0.5, color_jitter=0.3, interpolation="random"
    )


TRANSFORMS: dict[str, Callable[[], Any]] = {
    "v1": version_1, "v2": version_2, "timm rand": of_timm, "timm augmix": partial(of_timm, "augmix-m5-w2"),
}  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders of a few drawings."""
    root = tmp_path_factory.mktemp("folders")
    for kind in range(CLASSES):
        (root / f"kind{kind}").mkdir()
        for number in range(6):
            drawing(24, 20, seed=10 * kind + number).save(root / f"kind{kind}" / f"{number}.png")
    return root


def classifier() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, CLASSES))


def trainer_of(data: Any, spy: Batches, **settings: Any) -> Trainer:
    def loss(model: nn.Module, batch: Any) -> Any:
        spy.see(model, batch)
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    return Trainer(classifier(), data, loss=loss, epochs=2, seed=3, **{"batch_size": 5, **settings})


@pytest.mark.parametrize("name", TRANSFORMS)
def test_random_transforms_are_those_of_the_sample(name: str, folders: Path, tmp_path: Path) -> None:
    def make(spy: Batches, **settings: Any) -> Trainer:
        return trainer_of(torchvision.datasets.ImageFolder(folders, transform=TRANSFORMS[name]()), spy, **settings)

    random.seed(5)
    np.random.seed(5)
    all_equal(make, tmp_path)


def test_two_epochs_show_a_picture_in_two_ways(folders: Path) -> None:
    spy = Batches()
    trainer_of(torchvision.datasets.ImageFolder(folders, transform=version_2()), spy, plugins=[spy], watch=(), device="cpu").fit()
    assert len(set(spy.seen)) == len(spy.seen) == 8


def cifar(root: Path) -> Any:
    """torchvision's CIFAR10 from its own files, as far as it reads them: five batches of a few pictures."""
    import pickle

    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    for name in [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]:
        content = {"data": rng.integers(256, size=(4, 3072), dtype=np.uint8), "labels": rng.integers(CLASSES, size=4).tolist()}
        (folder / name).write_bytes(pickle.dumps(content))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": ["a", "b", "c"]}))
    kind = type("Local", (torchvision.datasets.CIFAR10,), {"_check_integrity": lambda self: True})
    kind.meta = {"filename": "batches.meta", "key": "label_names", "md5": None}
    return kind


@pytest.mark.parametrize("name", ["FakeData", "CIFAR10"])
def test_data_sets_of_torchvision(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    kinds: dict[str, Callable[[], Any]] = {
        "FakeData": lambda: torchvision.datasets.FakeData(18, (3, 24, 24), CLASSES, transform=version_1()),
        "CIFAR10": lambda: cifar(tmp_path / "files")(tmp_path / "files", transform=version_2()),
    }

    def make(spy: Batches, **settings: Any) -> Trainer:
        return trainer_of(kinds[name](), spy, **settings)

    all_equal(make, tmp_path, ["plain", "workers prefetch", "threads"])


def test_timms_mixup_as_collate(folders: Path, tmp_path: Path) -> None:
    """It draws from numpy's global generator, once for a batch."""
    pytest.importorskip("timm")
    from timm.data import Mixup

    still = v2.Compose([v2.ToImage(), v2.Resize((SIZE, SIZE)), v2.ToDtype(torch.float32, scale=True)])

    def make(spy: Batches, **settings: Any) -> Trainer:
        mix = Mixup(mixup_alpha=0.8, cutmix_alpha=1.0, label_smoothing=0.1, num_classes=CLASSES)

        def collate_fn(samples: list[Any]) -> Any:
            pictures, labels = torch.utils.data.default_collate(samples)
            out: Any = mix(pictures, labels)
            return out

        def loss(model: nn.Module, batch: Any) -> Any:
            spy.see(model, batch)
            return nn.functional.cross_entropy(model(batch[0]), batch[1])

        data = torchvision.datasets.ImageFolder(folders, transform=still)
        return Trainer(
            classifier(), data, loss=loss, collate_fn=collate_fn, epochs=2, batch_size=6, drop_last=True, seed=3, **settings
        )

    all_equal(make, tmp_path)


def test_a_dataloader_with_a_collate_fn_of_ones_own(folders: Path, tmp_path: Path) -> None:
    """Its batches are ready: its own random numbers are kept where a run is resumed."""

    def make(spy: Batches, **settings: Any) -> Trainer:
        data = torchvision.datasets.ImageFolder(folders, transform=version_1())
        loader = torch.utils.data.DataLoader(data, 5, shuffle=True, collate_fn=columns)
        return trainer_of(loader, spy, batch_size=None, **settings)

    all_equal(make, tmp_path, ["plain", "prefetch"])


def columns(samples: list[Any]) -> tuple[Any, ...]:
    pictures, labels = zip(*samples, strict=True)
    return torch.stack(pictures), torch.tensor(labels)
