"""Settings that say how files of other tools are read: of the plugins tfrecord, webdataset and lmdb, or flags of `pack`."""

from __future__ import annotations

from dataclasses import dataclass

from accel.data.shards.feature_names import NAMES, FeatureNames
from accel.data.shards.key_labels import ANY_LAYOUT, LMDBLayout

__all__ = ["DEFAULTS", "ShardSettings"]


@dataclass(frozen=True)
class ShardSettings:
    """How the samples of shards and of LMDB files are told.

    Args:
        features: Names of the features of a TFRecord file.
        first: Number of the first class in a TFRecord file.
        image: Extension of the picture in a tar; auto for that of a picture.
        label: Extension of the label in a tar.
        lmdb: Keys and labels of an LMDB file that accel did not make.
    """

    features: FeatureNames = NAMES
    first: int = 0
    image: str = "auto"
    label: str = "cls"
    lmdb: LMDBLayout = ANY_LAYOUT


DEFAULTS = ShardSettings()
