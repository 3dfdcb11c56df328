"""Task of handwritten digits, which come with scikit-learn: a real data set without a download."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from accel.data.codecs import crops
from accel.data.codecs.image_reader import PILLOW_READER
from accel.data.picture_names import SUFFIXES
from accel.errors import ConfigError, nearest
from accel.tasks.evaluation import scores
from accel.tasks.models.convnet import convnet
from accel.tasks.validate import validate
from accel.trainer import Trainer
from accel.values import Count, Decay

__all__ = ["HELD_OUT", "Digits", "digits", "read_rows"]

HELD_OUT = 360
"""Pictures of the test split, 36 of each digit, of 1,797; the same for every seed, so that runs can be compared."""


class Digits(Trainer):
    """Classification of 8x8 pictures of handwritten digits with a small convolutional network.

    Args:
        width: channels of the first convolution, a multiple of 4; the others have twice as many.
        smoothing: the share of each label that is spread over all ten digits in training. The pictures are few, and without it
            the network is soon certain of every one of them and learns nothing more.
        run: settings of the run, as in `Trainer`.

    Raises:
        ConfigError: If a setting does not fit.
    """

    evaluates = "test"
    num_classes = 10
    suffixes = SUFFIXES

    def __init__(self, width: Count = 32, smoothing: Decay = 0.1, **run: Any) -> None:
        super().__init__(**run)
        validate(Digits, width=width, smoothing=smoothing)
        if width % 4:
            raise ConfigError(f"task.width must be a multiple of 4 (the channels are normalised in 4 groups), not {width}")
        self.width, self.smoothing = width, smoothing

    def model(self) -> nn.Module:
        return convnet(num_classes=self.num_classes, width=self.width)

    def data(self, split: str) -> TensorDataset:
        if split not in ("train", "test"):
            raise ConfigError(f"the digits have no split {split}{nearest(split, ['test']) or '; there is test'}")
        return digits()[split]

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        pictures, labels = batch
        return F.cross_entropy(model(pictures), labels, label_smoothing=self.smoothing)

    def metrics(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        pictures, labels = batch
        return scores(model(pictures), labels)

    def sample_of(self, path: str) -> Tensor:
        """Return the centred square of a picture, a bright digit on a dark ground, as (1, 8, 8) float32 from 0 to 1."""
        PILLOW_READER.check()
        picture = PILLOW_READER.open(Path(path).read_bytes(), path)
        pixels = torch.from_numpy(picture.resized_crop(crops.centre(*picture.size), 8))
        return pixels.float().mean(2)[None] / 255


def digits() -> dict[str, TensorDataset]:
    """Return `train` and `test`: pictures (n, 1, 8, 8) float32 from 0 to 1, labels (n,) int64.

    Source: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository (test part).

    Raises:
        ConfigError: If scikit-learn is not installed.
    """
    rows = read_rows()
    pictures, labels = rows[:, :-1], rows[:, -1].astype(np.int64)
    rng = np.random.default_rng(0)
    held_out = np.concatenate([rng.permutation(np.flatnonzero(labels == digit))[: HELD_OUT // 10] for digit in range(10)])
    chosen = np.isin(np.arange(len(labels)), held_out)
    return {"train": _tensors(pictures[~chosen], labels[~chosen]), "test": _tensors(pictures[chosen], labels[chosen])}


def read_rows() -> NDArray[np.float64]:
    """Return a row for each picture, (1797, 65) float64: 64 brightnesses from 0 to 16, and the digit.

    The file is read as it lies in scikit-learn: to import it for `load_digits` takes a second, in which nothing is trained.

    Raises:
        ConfigError: If scikit-learn is not installed.
    """
    spec = find_spec("sklearn")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError("task=digits needs scikit-learn, which brings the pictures: pip install 'accel-train[demo]'")
    file = Path(spec.submodule_search_locations[0], "datasets", "data", "digits.csv.gz")
    if file.exists():
        return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits

    return np.column_stack(load_digits(return_X_y=True))


def _tensors(pictures: NDArray[np.float64], labels: NDArray[np.int64]) -> TensorDataset:
    """Return the data set of pictures (n, 64), from 0 to 16, and labels (n,)."""
    scaled = torch.from_numpy(pictures).float().div_(16).view(-1, 1, 8, 8)
    return TensorDataset(scaled, torch.from_numpy(labels))
