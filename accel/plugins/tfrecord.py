"""TFRecord: a source that reads pictures from TFRecord files of tf.train.Example.

TensorFlow is not needed. The files are read through once, and the position of
each picture is kept in the user's cache directory. Order, augmentation,
resuming and ranks are therefore those of a folder. Samples come in the order of
the files. Their labels are compared with the folder's, and names and classes if
the feature `file` holds `class/name`. The checksum of each record is compared
when the record is first read.

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

from accel.data.shards.tfrecord_shards import FeatureNames, TFRecords
from accel.data.splits.find_shards import TFRECORDS, find_shards
from accel.parts.shared.store_source import StoreSource
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
        names = find_shards(data, split, self.path, TFRECORDS, self.name)
        return TFRecords(names, FeatureNames(self.image, self.label, self.text, self.file), self.first)
