"""TFRecord: the pictures of a data set, read from TFRecord files of tf.train.Example.

TensorFlow is not needed. The files are gone through once, and where each picture
lies is kept in the user's cache directory, so that order, augmentation, resuming
and ranks are those of a folder. Samples are in the order in which they lie in the
files. Their labels are compared with the folder's, and names and classes where
the feature `file` says `class/name`. The checksum of each record is compared when
it is first read.

Helps   data that comes in TFRecord files; a few large files are opened, not a
        million.
Hurts   spinning disks: pictures are read at random.
Costs   the first run reads the whole data set once, from beginning to end. The
        first epoch computes checksums: 7 ms for each MB without google-crc32c
        (pip install 'accel-train[tfrecord]'), and next to nothing with it.
Source  the format is TensorFlow's: length, masked crc32c, content, masked crc32c.
Exact   yes: the same batches as from the folder that the files were made of, where
        they were written in its order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from accel.data.shards.tfrecord_shards import Names, TFRecords
from accel.data.splits.find_shards import TFRECORDS, find_shards
from accel.parts.shared.store_source import StoreSource
from accel.values import Whole

__all__ = ["TFRecord"]


@dataclass(eq=False)
class TFRecord(StoreSource):
    """Reads the records of TFRecord files in place of the files of SPLIT/.

    Args:
        path: a folder or URL that holds SPLIT*.tfrecord (also -00003-of-00128) or SPLIT/*.tfrecord; or the files, as DIR/SPLIT-*;
            auto: the folder that holds the folders of the splits.
        image: the feature that holds the encoded picture.
        label: the feature that holds the number of its class.
        text: the feature that holds the name of its class, where there is one.
        file: the feature that holds the name of its file, where there is one.
        first: the number that the first class has; 1 in the ImageNet files of Inception and Slim.
    """

    path: str = "auto"
    image: str = "image/encoded"
    label: str = "image/class/label"
    text: str = "image/class/text"
    file: str = "image/filename"
    first: Whole = 0

    def store_of(self, data: Any, split: str) -> TFRecords:
        names = find_shards(data, split, self.path, TFRECORDS, self.name)
        return TFRecords(names, Names(self.image, self.label, self.text, self.file), self.first)
