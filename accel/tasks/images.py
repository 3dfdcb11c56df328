"""Task of pictures in class folders."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accel.data.codecs import crops
from accel.data.codecs.image_reader import ImageReader
from accel.data.datasets.image_folder import AugmentedFolder, Folder
from accel.data.picture_names import SUFFIXES
from accel.data.store import UNLABELLED, Files
from accel.errors import BadSample, ConfigError, MovedWarning, TrainingError, nearest
from accel.parts.shared.store_source import StoreSource
from accel.system.deprecation.old_attributes import deprecation
from accel.tasks.evaluation import average_views, scores
from accel.tasks.image_splits import Split, find_splits
from accel.tasks.models.airnet import AirNet
from accel.tasks.models.by_name import model_by_name
from accel.tasks.models.resnet import resnet18, resnet50, small
from accel.tasks.models.timm_models import PREFIX, TimmModel
from accel.tasks.normalise import MEAN, STD, normalise
from accel.tasks.validate import validate
from accel.trainer import Trainer
from accel.values import Bounds, Count

__all__ = ["INITIAL_PICTURES", "MODELS", "Images"]

MODELS: dict[str, Callable[[int, int], nn.Module]] = {
    "small": small, "resnet18": resnet18, "resnet50": resnet50,
    "airnet": lambda classes, side: AirNet(classes), "airnet_s": lambda classes, side: AirNet(classes, width=8),
}  # fmt: skip
INITIAL_PICTURES = 1024
"""Training pictures that a model with a method `init_from_pictures` begins from."""


class Images(Trainer):
    """Classification of pictures in `root/train/<class>/*`; evaluated on `root/val/<class>/*`, or on `test` without a `val`.

    In place of class folders a split may be a packed store (`train.lmdb`, `train.raw`), or tar or TFRecord shards.

    The model is given (batch, 3, size, size) float32, normalised as ImageNet's weights expect, and returns the logits. A model of
    timm is made for `size` where its class takes that, and normalises as the weights expect that are published under its name.
    A model with a method `init_from_pictures(pictures)` is first given 1,024 training pictures in this form, to begin from.

    Args:
        root: the folder of the splits, or a URL such as s3://bucket/data, which is kept on disk as it is read.
        size: the side of the pictures in training and evaluation, in pixels.
        model: small, resnet18, resnet50, airnet, airnet_s, `timm/` and the name of a model of the package timm, or the dotted name
            of a class, which is called with `num_classes=`.
        crop: what training sees. pad: the centred square, moved by up to an eighth of its side; resized: a box of random
            area and shape; none: the centred square.
        flip: whether half of the pictures are mirrored in training.
        views: how many views of each picture evaluation averages: 1, 2 (mirrored too) or 6 (also moved by a pixel either way).
        decoder: who decodes JPEGs. pillow, opencv and simplejpeg give the same pixels; scaled is simplejpeg that decodes a large
            picture no larger than the crop needs.
        filter: who resamples. antialias: Pillow's widened triangle; linear or area: OpenCV's, which are faster, and other pixels.
        unlabelled: a folder of further training pictures without a class, in root or anywhere; the teacher of `distill` says what
            they show.
        max_pixels: a picture with more pixels cannot be read; its size is looked at before it is decoded. Pillow's own limit is the
            most that can be set.
        run: settings of the run, as in `Trainer`.

    Raises:
        ConfigError: If a setting does not fit, a package is missing, or the folder has no such splits.
        TrainingError: If a URL cannot be reached.
    """

    suffixes = SUFFIXES
    normalisation: Mapping[str, Any] = {"mean": MEAN, "std": STD}

    def __init__(
        self,
        root: str,
        size: Count = 32,
        model: Literal["small", "resnet18", "resnet50", "airnet", "airnet_s"] | str = "small",
        crop: Literal["pad", "resized", "none"] = "pad",
        flip: bool = True,
        views: Literal[1, 2, 6] = 1,
        decoder: Literal["pillow", "opencv", "simplejpeg", "scaled"] = "pillow",
        filter: Literal["antialias", "linear", "area"] = "antialias",
        max_pixels: Annotated[int, Bounds("a whole number from 1 to 178956970", low=1, high=178_956_970)] = 178_956_970,
        unlabelled: str | None = None,
        **run: Any,
    ) -> None:
        super().__init__(**run)
        root = str(root) if isinstance(root, Path) else root
        validate(
            Images, root=root, size=size, model=model, crop=crop, flip=flip, views=views, decoder=decoder, filter=filter,
            max_pixels=max_pixels, unlabelled=unlabelled,
        )  # fmt: skip
        self.timm = TimmModel("task.model", model) if model.startswith(PREFIX) else None
        if model not in MODELS and self.timm is None and ("." not in model or "/" in model):
            hint = nearest(model, [*MODELS, PREFIX + model.replace(":", "/").rpartition("/")[2]])
            raise ConfigError(
                f"task.model must be {', '.join(MODELS)}, a model of timm such as timm/resnet34, or a class such as "
                f"package.module.Net, not {model!r}{hint}"
            )
        self.reader = ImageReader(decoder, filter, max_pixels)
        self.reader.check()
        self.size, self.kind, self.crop, self.flip = size, model, crop, flip
        if self.saved_metadata is None:
            self.evaluates, self.classes, self.splits = find_splits(root, self.plugins)
        else:
            self.classes, self.splits = list(self.saved_metadata["classes"]), {}
        if self.timm is not None:
            self.normalisation = (self.saved_metadata or {}).get("normalisation") or self.timm.normalisation
            self.timm.check_init(self.initial_weights)
        self.views = views
        is_loaded = self.saved_metadata is not None
        self.unlabelled = None if unlabelled is None or is_loaded else self.folder_without_classes(root, unlabelled)
        self.listed: dict[str, Files] = {}
        """Folders that were listed for the model, and wait for the run."""

    def folder_without_classes(self, root: str, folder: str) -> Path:
        """Return the folder of pictures without a class. Raise ConfigError if nothing could be learnt from it."""
        on = {plugin if isinstance(plugin, str) else plugin.name: plugin for plugin in self.plugins}
        if "distill" not in on:
            raise ConfigError("task.unlabelled needs a teacher that says what the pictures show; add the plugin distill")
        if not isinstance(self.splits["train"], Path) or any(isinstance(plugin, StoreSource) for plugin in on.values()):
            raise ConfigError("task.unlabelled goes with class folders that are read as they are; leave out the store or shards")
        if getattr(on.get("augment"), "softens", False):
            raise ConfigError(
                "task.unlabelled and augment cannot work together: label_smoothing, mixup and cutmix need a class for each "
                "picture; set the three to 0"
            )
        return Path(root, folder).expanduser()

    def model(self) -> nn.Module:
        classes = len(self.classes)
        if self.kind in MODELS:
            net: Any = MODELS[self.kind](classes, self.size)
        elif self.timm is not None:
            net = self.timm.make(classes, self.size, self.saved_metadata is not None)
        else:
            net = model_by_name("task.model", self.kind, num_classes=classes)(num_classes=classes)
        initialise = getattr(net, "init_from_pictures", None) or _deprecated_show(net)
        if initialise and self.saved_metadata is None:
            initialise(self.normalised(self.initial_pictures()))
        model: nn.Module = net
        return model

    def identity(self) -> dict[str, Any]:
        """Return the identity of the run: of the decoders only `scaled` gives other pixels."""
        identity = super().identity() | ({} if self.timm is None else {"normalisation": self.normalisation})
        if identity.get("unlabelled") is None:  # not kept else: checkpoints of before there was one go on
            identity.pop("unlabelled", None)
        return identity | {"decoder": "scaled" if self.reader.decoder == "scaled" else "exact"}

    def metadata(self) -> dict[str, Any]:
        """Return the classes, and the normalisation of a model of timm, of which another timm may know another."""
        return super().metadata() | ({} if self.timm is None else {"normalisation": dict(self.normalisation)})

    def adapt_weights(self, model: nn.Module, state: dict[str, Any]) -> Any:
        """Return given weights as a model of timm takes them."""
        return None if self.timm is None else self.timm.adapt(model, state)

    def normalised(self, pictures: Tensor) -> Tensor:
        """Return pictures, (batch, height, width, 3) from 0 to 255, as the model takes them."""
        return normalise(pictures, self.normalisation["mean"], self.normalisation["std"])

    def initial_pictures(self) -> Tensor:
        """Return at most 1,024 training pictures from all over the data, without augmentation: (n, size, size, 3) uint8.

        Unreadable pictures are left out, unless bad_data=raise.

        Raises:
            TrainingError: If no picture can be read.
        """
        split = self.splits["train"]
        if isinstance(split, Path):
            split = self.listed["train"] = Files(split, self.classes, self.unlabelled)
        data = Folder(split, self.classes, self.size, reader=self.reader)
        pictures = []
        for index in range(0, len(data), -(-len(data) // INITIAL_PICTURES)):
            try:
                pictures.append(data[index][0])
            except BadSample:
                if self.settings.bad_data == "raise":
                    raise
        if not pictures:
            raise TrainingError(f"of {len(data):,} training pictures none can be read; mend them")
        return torch.stack(pictures)

    def data(self, split: str) -> Folder:
        if split not in self.splits:
            raise ConfigError(
                f"the pictures have no split {split}{nearest(split, self.splits) or '; there is ' + ', '.join(self.splits)}"
            )
        folder: Split = self.listed.pop(split, None) or self.splits[split]
        if split == "train":
            if self.unlabelled is not None and isinstance(folder, Path):
                folder = Files(folder, self.classes, self.unlabelled)
            return AugmentedFolder(folder, self.classes, self.size, self.crop, self.flip, self.reader)
        return Folder(folder, self.classes, self.size, self.share, self.reader)

    def calibration_data(self) -> Folder:
        """Return the training pictures as evaluation shows them: nothing is moved or mirrored."""
        return Folder(self.splits["train"], self.classes, self.size, self.share, self.reader)

    @property
    def share(self) -> float:
        """The share of a picture's shorter side that evaluation shows."""
        # a random box magnifies: training saw things larger than they are, and evaluation shows them so
        return 0.875 if self.crop == "resized" else 1.0

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        pictures, labels = batch
        logits = model(self.normalised(pictures))
        if self.unlabelled is None:
            return F.cross_entropy(logits, labels)
        return F.cross_entropy(logits, labels, ignore_index=UNLABELLED, reduction="sum") / len(labels)

    def metrics(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        pictures, labels = batch
        return scores(average_views(model, self.normalised(pictures), self.views), labels)

    def sample_of(self, path: str) -> Tensor:
        """Return the picture in a file as evaluation shows it, (size, size, 3) uint8."""
        picture = self.reader.open(Path(path).read_bytes(), path)
        return torch.from_numpy(picture.resized_crop(crops.centre(*picture.size, self.share), self.size))

    def predict(self, model: nn.Module, batch: Tensor) -> Tensor:
        return average_views(model, self.normalised(batch), self.views)


def _deprecated_show(net: Any) -> Callable[[Tensor], None] | None:
    """Return the method `show` of a model, the old name of `init_from_pictures`, with a warning; None if there is none."""
    show: Callable[[Tensor], None] | None = getattr(net, "show", None)
    if show is not None:
        warnings.warn(deprecation(type(net).__name__, "show", "init_from_pictures"), MovedWarning, stacklevel=3)
    return show
