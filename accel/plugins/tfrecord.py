"""TFRecord: a source that reads pictures from TFRecord files of tf.train.Example.

TensorFlow is not needed. The files are read through once, and the position of
each picture is kept in the user's cache directory. Order, augmentation,
resuming and ranks are therefore those of a folder. Samples come in the order of
the files. Their labels are compared with the folder's, and names and classes if
the feature `file` holds `class/name`. The checksum of each record is compared
when the record is first read. Files of other features are read by settings:
`image`, `label` and the others. Where the default names are not there, those of
TensorFlow Datasets are taken (features.json, label.labels.txt), or those of the
one picture and the one whole number of a record.

Helps   data that comes in TFRecord files; a few large files are opened, not a
        million.
Hurts   spinning disks: pictures are read at random.
Costs   the first run reads the whole data set once, from beginning to end. The
        first epoch computes checksums with the package google-crc32c, in next
        to no time: pip install 'accel-train[tfrecord]'.
Source  the format is TensorFlow's: length, masked crc32c, content, masked
        crc32c.
Exact   Yes: the same batches as from the folder that the files were made of, if
        they were written in its order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from accel.data.shards.feature_names import FeatureNames
from accel.data.shards.tfrecord_shards import TFRecords
from accel.data.splits.find_shards import TFRECORDS, find_shards
from accel.data.splits.shard_settings import ShardSettings
from accel.parts.shared.store_source import StoreSource, opened_or_new
from accel.system.machine import Need
from accel.values import Whole

__all__ = ["TFRecord"]


@dataclass(eq=False)
class TFRecord(StoreSource):
    """Source that reads the records of TFRecord files in place of the files of SPLIT/.

    Args:
        path: folder or URL that holds SPLIT*.tfrecord (also -00003-of-00128) or SPLIT/*.tfrecord; or the files, as DIR/SPLIT-*;
            auto: the folder that holds the folders of the splits.
        image: feature that holds the encoded picture.
        label: feature that holds the number of the picture's class.
        text: feature that holds the name of the class, if there is one.
        file: feature that holds the name of the picture's file, if there is one.
        first: number of the first class; 1 in the ImageNet files of Inception and Slim.
    """

    needs: ClassVar[tuple[Need, ...]] = (Need("package:google_crc32c", extra="tfrecord"),)

    path: str = "auto"
    image: str = "image/encoded"
    label: str = "image/class/label"
    text: str = "image/class/text"
    file: str = "image/filename"
    first: Whole = 0

    def store_of(self, data: Any, split: str) -> TFRecords:
        names, settings = find_shards(data, split, self.path, TFRECORDS, self.name), self.shard_settings()
        return opened_or_new(TFRecords, data, names, settings.features, settings.first)

    def shard_settings(self) -> ShardSettings:
        return ShardSettings(FeatureNames(self.image, self.label, self.text, self.file), self.first)
