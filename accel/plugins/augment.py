"""Augment: batch augmentation on the device: soft labels, mixing, erasing, sizes.

Each micro-batch is changed on its own, on the device, after it has arrived. Its
pictures grow over the run (resize_from), and a box of each picture is painted
over (erasing). Each sample is mixed with the one before it. mixup takes a
weighted mean, cutmix a box of the other sample. With both on, one of the two is
drawn for each micro-batch. Labels are smoothed (label_smoothing) and mixed in
the same way. The loss is given probabilities, which F.cross_entropy takes.

A batch is a tuple, list or named tuple of pictures or points, int64 labels, and
any further members. Pictures are (batch, channels, height, width) or (batch,
height, width, channels), uint8 or floating point. Batches of the evaluation are
not changed.

Helps   models that learn their samples by heart: long runs on few pictures.
        resize_from makes the first updates cheaper: half the side is a quarter
        of the work.
Hurts   runs too short to overfit: they end with a lower accuracy. resize_from
        needs a model that takes pictures of any size (a global mean before its
        last layer). With compile, each size is compiled anew.
Costs   one pass over the pictures each for mixup and cutmix, two for erasing;
        (batch, num_classes) numbers for the labels.
Source  label smoothing: Szegedy et al., arXiv 1512.00567. mixup: Zhang et al.,
        arXiv 1710.09412. cutmix: Yun et al., arXiv 1905.04899. erasing: Zhong
        et al., arXiv 1708.04896. Sizes: Composer's ProgressiveResizing, after
        fast.ai's DAWNBench runs (fast.ai/posts/2018-08-10-fastai-diu-imagenet).
Exact   The random numbers of a micro-batch are a function of the seed, the
        epoch and its number in the epoch. A resumed run draws the same, and no
        other random number changes. label_smoothing is that of F.cross_entropy;
        a loss that smooths by itself (task=digits) smooths once more. With
        mixup or resize_from, uint8 pictures reach the loss as float32 from 0 to
        255, never rounded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from accel.data.augmentation import cutmix, cutmix_box, erase, erasing_boxes, mixup, resize, resize_scale, resized_side, soft_labels
from accel.data.batches.structure import is_channels_last, repack_pair, unpack_pair
from accel.data.sampling import batch_rng
from accel.device.cuda.pinned_memory import PinnedMemory
from accel.errors import ConfigError, describe
from accel.parts import Augment as AugmentPart
from accel.parts.run import UNLIMITED
from accel.system.clock import DATA
from accel.values import Count, Fraction, NonNegative, Share

if TYPE_CHECKING:
    import numpy as np

    from accel.parts import Micro, Run, Window

__all__ = ["Augment"]


@dataclass(eq=False)
class Augment(AugmentPart):
    """Label smoothing, mixup, cutmix, random erasing and progressive resizing, one micro-batch at a time.

    Args:
        label_smoothing: share of each label that is spread over all classes; 0 is off.
        mixup: alpha of Beta(alpha, alpha), from which the share of the mixture is drawn; 0 is off, 0.2 usual.
        cutmix: alpha in the same way, for the area of the box; 0 is off, 1 usual.
        mix_prob: share of micro-batches that are mixed at all.
        erasing: share of pictures in which a box is painted over; 0 is off.
        erasing_min_area: least area of the erased box, as a share of the picture's area.
        erasing_max_area: largest area of the erased box, as a share of the picture's area.
        erasing_aspect: least height over width of the erased box; the largest is 1 / this.
        resize_from: side of the first pictures, as a share of the full side; 1 is off.
        resize_until: share of the run after which pictures have their full side.
        resize_multiple: pixels of which the sides on the way are multiples.
        num_classes: number of classes of the labels; null takes it from the task or its data (num_classes, classes).
    """

    label_smoothing: Fraction = 0.1
    mixup: NonNegative = 0.0
    cutmix: NonNegative = 0.0
    mix_prob: Fraction = 1.0
    erasing: Fraction = 0.0
    erasing_min_area: Fraction = 0.02
    erasing_max_area: Fraction = 0.4
    erasing_aspect: Share = 0.3
    resize_from: Share = 1.0
    resize_until: Fraction = 0.8
    resize_multiple: Count = 8
    num_classes: Count | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.erasing_min_area > self.erasing_max_area:
            raise ConfigError(
                f"augment.erasing_min_area={self.erasing_min_area:g} is above erasing_max_area={self.erasing_max_area:g}; "
                "set it no higher"
            )
        self.mixes = (self.mixup > 0 or self.cutmix > 0) and self.mix_prob > 0
        self.softens = self.label_smoothing > 0 or self.mixes
        self.erases = self.erasing > 0 and self.erasing_max_area > 0
        self.grows = self.resize_from < 1 and self.resize_until > 0
        enabled = {
            "mixup": self.mixes and self.mixup > 0, "cutmix": self.mixes and self.cutmix > 0,
            "erasing": self.erases, "resize_from": self.grows,
        }  # fmt: skip
        self.float_setting = next((name for name in ("mixup", "resize_from") if enabled[name]), "")
        self.picture_setting = next((name for name in ("cutmix", "erasing", "resize_from") if enabled[name]), "")
        """First setting that is on and needs floating point, and the first that needs pictures; empty if none does."""

    @property
    def paced(self) -> bool:
        return self.grows

    def setup(self, run: Run) -> None:
        self.device, self.seed, self.lap, self.pinned = run.device, run.seed, run.clock.lap, PinnedMemory("boxes to erase")
        self.rank, self.world_size = run.parts.parallel.rank, run.parts.parallel.world_size
        self.classes = self.num_classes or run.num_classes or 0
        if self.softens and not self.classes:
            reason = "and neither the task nor its data tells (num_classes, classes)"
            raise ConfigError(f"augment needs the number of classes, {reason}; set plugins.augment.num_classes")
        per_epoch = run.updates_per_epoch if self.grows else None
        if self.grows and (per_epoch is None or (run.updates is None and run.epochs == UNLIMITED)):
            raise ConfigError("augment.resize_from needs the length of the run, and the data has none; set resize_from=1")
        self.batches = run.batches or 0
        if per_epoch is not None:
            epochs, rest = (run.epochs, 0) if run.updates is None else divmod(run.updates, per_epoch)
            self.total = epochs * self.batches + rest * run.parts.group.size  # micro-batches of the whole run
        candidates = ((self._resize, self.grows), (self._erase, self.erases), (self._mix, self.mixes))
        self.transforms = [transform for transform, enabled in candidates if enabled]
        """In this order: transforms after the resizing are cheaper, and a sample is mixed with a partner that is erased already."""

    def windows(self, windows: Iterator[Window], epoch: int, start: int) -> Iterator[Window]:
        for window in windows:
            yield window._replace(micros=self._augment(window.micros, epoch, start))
            start += window.batches

    def _augment(self, micros: Iterable[Micro], epoch: int, start: int) -> Iterator[Micro]:
        """Yield the micro-batches of one window, augmented, all at one scale."""
        scale = self.scale(epoch, start)
        for number, micro in enumerate(micros, start):
            batch = self.batch(micro.batch, scale, epoch, number * self.world_size + self.rank)
            self.lap(DATA)
            yield micro._replace(batch=batch)

    def scale(self, epoch: int, number: int) -> float:
        """Return the side of the pictures, as a share of the full side, from micro-batch `number` of `epoch` on."""
        time = (epoch * self.batches + number) / self.total if self.grows else 1.0
        return resize_scale(time, self.resize_from, self.resize_until)

    def batch(self, batch: Any, scale: float, epoch: int, number: int) -> Any:
        """Return batch `number` of `epoch`, over all ranks, augmented, in the same structure. The user's tensors do not change."""
        samples, labels = unpack_pair(batch)
        self.check_batch(samples, labels)
        if self.softens:
            labels = soft_labels(labels, self.classes, self.label_smoothing)
        if self.float_setting and samples.dtype == torch.uint8:
            samples = samples.float()
        if self.transforms:  # soft labels alone draw no random numbers
            rng = batch_rng(self.seed, epoch, number)
            channels_last = samples.dim() == 4 and is_channels_last(samples)
            samples = samples.permute(0, 3, 1, 2) if channels_last else samples
            for transform in self.transforms:
                samples, labels = transform(samples, labels, scale, rng)
            samples = samples.permute(0, 2, 3, 1) if channels_last else samples
        return repack_pair(samples, labels, batch)

    def _resize(self, pictures: Tensor, labels: Tensor, scale: float, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        if scale == 1:
            return pictures, labels
        height, width = (resized_side(scale, side, self.resize_multiple) for side in pictures.shape[2:])
        return resize(pictures, height, width), labels

    def _erase(self, pictures: Tensor, labels: Tensor, scale: float, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        count, _, height, width = pictures.shape
        area = (self.erasing_min_area, self.erasing_max_area)
        boxes = torch.from_numpy(erasing_boxes(count, height, width, self.erasing, area, self.erasing_aspect, rng))
        return erase(pictures, self.pinned.send(boxes, self.device)), labels

    def _mix(self, samples: Tensor, labels: Tensor, scale: float, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        mix_draw, kind_draw = rng.random(2)
        if mix_draw >= self.mix_prob:
            return samples, labels
        if self.mixup and (kind_draw < 0.5 or not self.cutmix):
            share = rng.beta(self.mixup, self.mixup)
            return mixup(samples, share), mixup(labels, share)
        share = rng.beta(self.cutmix, self.cutmix)
        height, width = samples.shape[2:]
        box, share = cutmix_box(height, width, share, rng)
        return cutmix(samples, box), mixup(labels, share)

    def check_batch(self, samples: Tensor, labels: Tensor) -> None:
        """Check that a batch can be augmented as the settings ask.

        Raises:
            ConfigError: for labels, shapes or dtypes that a setting cannot work with.
        """
        if self.softens and (labels.dtype != torch.int64 or labels.shape != samples.shape[:1]):
            raise ConfigError(
                "augment.label_smoothing, mixup and cutmix need a label of int64 for each sample, and the labels of "
                f"{describe(samples)} are {labels.dtype} of shape {tuple(labels.shape)}; set the three to 0"
            )
        for name, fits, needed in (
            (self.picture_setting, samples.dim() == 4, "pictures, of four dimensions"),
            (self.float_setting, samples.is_floating_point() or samples.dtype == torch.uint8, "floating point or uint8"),
        ):
            if name and not fits:
                raise ConfigError(
                    f"augment.{name} needs {needed}, and the batch begins with {describe(samples)} and {samples.dtype}; "
                    f"set plugins.augment.{name}={getattr(type(self), name):g}"
                )

    def plan_notes(self) -> Mapping[str, str]:
        notes = {}
        if self.softens:
            smoothed = f", smoothed by {self.label_smoothing:g}" if self.label_smoothing else ""
            notes["labels"] = f"probabilities of {self.classes} classes{smoothed}"
        if self.mixes:
            kinds = [f"{name} of alpha {getattr(self, name):g}" for name in ("mixup", "cutmix") if getattr(self, name)]
            share = "each micro-batch" if self.mix_prob == 1 else f"{self.mix_prob:g} of the micro-batches"
            notes["mixing"] = f"{share}, each sample with the one before it: {' or '.join(kinds)}"
        if self.grows:
            whole = f"{self.resize_until * (epochs := self.total / self.batches):g} of {epochs:g} epochs"
            notes["picture sides"] = (
                f"{self.resize_from:g} of the whole at first, in steps of {self.resize_multiple}; whole after {whole}"
            )
        return notes

    def ineffective_settings(self, run: Run) -> list[str]:
        messages = []
        if not (self.softens or self.erases or self.grows):
            messages.append("augment has no effect: label_smoothing, mixup, cutmix and erasing are 0, and resize_from is 1")
        elif self.softens and self.num_classes and run.num_classes not in (None, self.num_classes):
            messages.append(f"augment.num_classes={self.num_classes}, where the task or its data tells of {run.num_classes}")
        for names, on, needed in (
            (("mix_prob",), self.mixup or self.cutmix, "mixup or cutmix"),
            (("erasing_min_area", "erasing_max_area", "erasing_aspect"), self.erasing, "erasing"),
            (("resize_until", "resize_multiple"), self.resize_from < 1, "resize_from below 1"),
            (("mixup", "cutmix"), self.mix_prob, "mix_prob above 0"),
            (("erasing",), self.erasing_max_area, "erasing_max_area above 0"),
            (("resize_from",), self.resize_until, "resize_until above 0"),
            (("num_classes",), self.softens, "label_smoothing, mixup or cutmix"),
        ):
            messages += [f"augment.{name} has no effect without augment.{needed}" for name in self.changed(*names) if not on]
        return messages
