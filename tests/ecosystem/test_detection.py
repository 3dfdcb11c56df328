"""Detection as torchvision has it: lists of pictures and of dicts, losses in training and boxes in evaluation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from accel import Trainer
from accel.plugins.accumulate import Accumulate
from accel.plugins.adamw import AdamW
from accel.plugins.amp import AMP
from accel.plugins.ema import EMA
from accel.plugins.oom import OOM
from tests.support.loader_runs import Batches, all_equal
from tests.support.short_memory import Hungry
from tests.support.torchvision_ops import import_torchvision

torchvision: Any = import_torchvision()
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::accel.errors.AccelWarning")]
COUNT = 10


class Squares(Dataset[Any]):
    """A bright square in each dark picture, the pictures of several sizes."""

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Any]]:
        numbers = torch.Generator().manual_seed(index)
        height, width = 40 + 4 * (index % 3), 48 - 4 * (index % 2)
        picture = 0.1 * torch.rand(3, height, width, generator=numbers)
        top, left = (int(number) for number in torch.randint(4, 16, (2,), generator=numbers))
        picture[:, top : top + 16, left : left + 16] = 0.9
        boxes = torch.tensor([[left, top, left + 16, top + 16]], dtype=torch.float32)
        if index == 4:
            boxes = boxes[:0]  # nothing to be found
        labels = torch.ones(len(boxes), dtype=torch.int64)
        return picture, {"boxes": boxes, "labels": labels, "image_id": index}


def collate(samples: list[Any]) -> Any:
    return tuple(zip(*samples, strict=True))


def backbone() -> nn.Module:
    net: Any = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1))
    net.out_channels = 32
    return net  # type: ignore[no-any-return]


def anchors() -> Any:
    from torchvision.models.detection.anchor_utils import AnchorGenerator

    return AnchorGenerator(((8, 16, 24),), ((1.0,),))


def faster_rcnn() -> nn.Module:
    from torchvision.models.detection import FasterRCNN
    from torchvision.ops import MultiScaleRoIAlign

    pool = MultiScaleRoIAlign(["0"], output_size=3, sampling_ratio=1)
    net: nn.Module = FasterRCNN(
        backbone(), 2, min_size=40, max_size=64, rpn_anchor_generator=anchors(), box_roi_pool=pool, rpn_pre_nms_top_n_train=50,
        rpn_post_nms_top_n_train=20, rpn_pre_nms_top_n_test=50, rpn_post_nms_top_n_test=20, box_batch_size_per_image=16,
    )  # fmt: skip
    return net


def fcos() -> nn.Module:
    from torchvision.models.detection import FCOS
    from torchvision.models.detection.anchor_utils import AnchorGenerator

    net: nn.Module = FCOS(
        backbone(), 2, min_size=40, max_size=64, anchor_generator=AnchorGenerator(((8,),), ((1.0,),)), topk_candidates=50
    )
    return net


def retinanet() -> nn.Module:
    from torchvision.models.detection import RetinaNet

    net: nn.Module = RetinaNet(backbone(), 2, min_size=40, max_size=64, anchor_generator=anchors(), topk_candidates=50)
    return net


DETECTORS: dict[str, Callable[[], nn.Module]] = {"faster_rcnn": faster_rcnn, "fcos": fcos, "retinanet": retinanet}


def targets_of(targets: Any) -> list[dict[str, Any]]:
    return [{name: target[name] for name in ("boxes", "labels")} for target in targets]


class Detection(Trainer):
    """As a user would write it: the model's own losses in training, its boxes in evaluation."""

    spy: Any = None

    def __init__(self, detector: str = "retinanet", loader: bool = False, **run: Any) -> None:
        super().__init__(**run)
        self.detector, self.loader = detector, loader

    def model(self) -> nn.Module:
        return DETECTORS[self.detector]()

    def data(self, split: str) -> Any:
        return DataLoader(Squares(), 3, collate_fn=collate, shuffle=split == "train") if self.loader else Squares()

    def loss(self, model: nn.Module, batch: Any) -> Any:
        if self.spy is not None:
            self.spy.see(model, batch)
        pictures, targets = batch
        return model(list(pictures), targets_of(targets))  # a dict of losses

    def metrics(self, model: nn.Module, batch: Any) -> Any:
        pictures, targets = batch
        assert not model.training
        boxes = model(list(pictures))
        assert len(boxes) == len(pictures)
        assert set(boxes[0]) == {"boxes", "labels", "scores"}
        overlaps = [self.overlap(one["boxes"], target["boxes"]) for one, target in zip(boxes, targets, strict=True)]
        return {"overlap": torch.stack(overlaps).mean(), "pictures": (torch.tensor(float(len(boxes))), 1)}

    @staticmethod
    def overlap(boxes: Tensor, wanted: Tensor) -> Tensor:
        if not len(boxes) or not len(wanted):
            return torch.tensor(float(not len(wanted)))
        return torchvision.ops.box_iou(boxes, wanted).amax()


class Given(Detection):
    """`collate_fn` as a method."""

    def collate_fn(self, samples: list[Any]) -> Any:
        return collate(samples)


@pytest.mark.parametrize("detector", DETECTORS)
def test_each_detector_learns_and_is_evaluated_by_mode(detector: str, tmp_path: Path) -> None:
    trainer = Given(
        detector,
        plugins=[AdamW(lr=3e-3), EMA(decay=0.5)],
        watch=("metrics",),
        epochs=6,
        batch_size=4,
        seed=1,
        device="cpu",
        out=tmp_path,
    )
    result = trainer.fit()
    assert result.samples == 6 * COUNT
    assert 0 <= result.metrics["overlap"] <= 1
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    updates = [row for row in map(json.loads, lines) if "loss" in row and "lr" in row]
    parts = set(updates[0]) - {"update", "epoch", "loss", "lr", "samples"}
    assert len(parts) >= 2, "each loss of the dict is logged by its name"
    assert updates[0]["loss"] == pytest.approx(sum(updates[0][name] for name in parts), rel=1e-5)
    assert updates[-1]["loss"] < updates[0]["loss"]


def test_same_batches_whoever_reads_them(tmp_path: Path) -> None:
    def make(spy: Batches, **settings: Any) -> Trainer:
        trainer = Given("fcos", epochs=1, batch_size=3, seed=3, **settings)
        trainer.spy = spy
        return trainer

    all_equal(make, tmp_path)


def test_a_dataloader_gives_the_same_form(tmp_path: Path) -> None:
    def make(spy: Batches, **settings: Any) -> Trainer:
        trainer = Detection("fcos", loader=True, epochs=1, seed=3, **settings)
        trainer.spy = spy
        return trainer

    all_equal(make, tmp_path, ["plain", "prefetch"])


def weights_after(plugins: list[Any], batch_size: int, detector: str = "retinanet", **settings: Any) -> list[Tensor]:
    trainer = Given(detector, plugins=plugins, watch=(), epochs=1, batch_size=batch_size, seed=2, device="cpu", **settings)
    result = trainer.fit()
    return [param.detach().clone() for param in result.model.parameters()]


@pytest.mark.parametrize("detector", ["faster_rcnn", "retinanet"])
@pytest.mark.parametrize("size", [4, 3])
def test_memory_that_is_short_cuts_the_lists_by_pictures(detector: str, size: int) -> None:
    """An update of four pictures, done again in halves, is that of two micro-batches of two; three have as many channels."""
    hungry = Hungry(limit=size // 2)
    actual = weights_after([OOM(), hungry], size, detector)
    assert hungry.failed
    if size == 4:
        assert all(map(torch.equal, actual, weights_after([Accumulate(steps=2)], 2, detector)))


def test_products_of_16_bits_and_windows() -> None:
    weights = weights_after([AMP(), Accumulate(steps=2), AdamW(lr=1e-3)], 2, "fcos")
    assert all(torch.isfinite(weight).all() for weight in weights)


def test_a_detector_without_metrics_gets_a_sentence() -> None:
    with pytest.raises(Exception, match="metrics") as caught:
        Trainer(
            fcos(), Squares(), Squares(), collate_fn=collate, loss=lambda model, batch: model(list(batch[0]), targets_of(batch[1])),
            watch=(), batch_size=3, device="cpu",
        ).fit()  # fmt: skip
    assert "evaluated by metrics(model, batch)" in str(caught.value)
