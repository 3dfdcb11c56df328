"""TFRecord files of tf.train.Example, read without TensorFlow."""

from __future__ import annotations

import mmap
import re
from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from accel.data.file_access import MAX_FILE_BYTES, too_large
from accel.data.shards.crc32c import crc32c, masked
from accel.data.shards.feature_names import NAMES, FeatureNames, class_names_beside
from accel.data.shards.index_cache import Arrays, pack_strings
from accel.data.shards.range_reader import RandomAccessFile
from accel.data.shards.shard_store import MAX_CLASSES, TOO_MANY_CLASSES, ShardStore, names_from_folders, open_files
from accel.data.shards.tfrecord_scan import CRC, HEAD, names_in, scan_records
from accel.errors import ConfigError

if TYPE_CHECKING:
    from accel.data.remote.block_cache import BlockCache

__all__ = ["CLASS_TEXT", "TFRecords"]

CLASS_TEXT = re.compile("-?[0-9]{1,19} ")
"""Beginning of a class text in the index: its label."""


class TFRecords(ShardStore):
    """Store of the pictures of TFRecord files, in the order of the files.

    The checksum of a record is compared when it is first read. Names of classes stand in the records, or in `LABEL.labels.txt`
    beside the files, as TensorFlow Datasets writes them.

    Args:
        names: Paths or URLs of the files, in order.
        features: Names of the features. The default ones, if the files have none of them, give way to those that leave no doubt.
        first: Number that the first class has in the files.
        cache: Cache of files at URLs; None for the default one.

    Raises:
        ConfigError: If a file is missing, damaged or of another format, or google-crc32c is not installed.
    """

    kind = "TFRecords"
    index_columns = ("starts", "lengths", "offsets", "sizes", "labels")

    def __init__(
        self, names: Sequence[str], features: FeatureNames = NAMES, first: int = 0, cache: BlockCache | None = None
    ) -> None:
        crc32c()  # names the package at the start, if it is missing
        self.made_of = list(names), features, first
        folder = names[0].rpartition("/")[0] or "."
        self.features = features if features != NAMES else names_in(open_files(names[:1], cache)[0], folder, cache)
        self.first = first
        self.class_texts = class_names_beside(folder, self.features.label, cache) if self.features != NAMES else []
        self.texts: dict[int, tuple[str, str]] = {}
        """Name of the class of each label, as the files have it, and the record that it was first read from."""
        super().__init__(names, cache)
        self._share_checked()

    @property
    def index_kind(self) -> str:
        return f"tfrecord 1 {' '.join(self.features)}"

    def scan(self, file: RandomAccessFile) -> dict[str, NDArray[Any]]:
        """Return the index of one file, which is read once, from its beginning to its end."""
        entries = list(scan_records(file, self.features))
        classes: dict[str, int] = {}
        for entry in entries:
            if entry.text:
                classes.setdefault(f"{entry.label} {entry.text}", entry.start - HEAD.size)
        return {
            **{
                name + "s": np.array([getattr(entry, name) for entry in entries], np.int64)
                for name in ("start", "length", "offset", "size", "label")
            },
            "class_texts": np.array(list(classes), dtype=np.str_),
            "class_offsets": np.array(list(classes.values()), np.int64),
            **pack_strings([entry.file for entry in entries]),
        }

    def finish_index(self) -> None:
        if len(set(self.keys)) < len(self.keys):
            self.keys = [f"{key}{'#' * bool(key)}{number:08}" for number, key in enumerate(self.keys)]
        lowest, highest = int(np.argmin(self.labels)), int(np.argmax(self.labels))
        if self.label(lowest) < self.first:
            raise ConfigError(
                f"{self.name(lowest)} has the label {self.label(lowest)}, below that of the first class, {self.first} "
                "(tfrecord.first)"
            )
        if self.label(highest) - self.first >= MAX_CLASSES:
            raise ConfigError(f"{self.name(highest)} has the label {self.label(highest)}; {TOO_MANY_CLASSES}")
        labels = self.columns["labels"] = self.labels - self.first
        names = names_from_folders(self.keys, labels)
        self.named = names is not None
        texts = {label - self.first: text for label, (text, _) in self.texts.items() if label - self.first < MAX_CLASSES}
        texts = texts or dict(enumerate(self.class_texts))
        self.classes = names or [texts.get(number, str(number)) for number in range(max([int(labels.max()), *texts]) + 1)]

    def _index(self, file: RandomAccessFile) -> dict[str, NDArray[Any]]:
        """Return the index of one file, without its class texts, which are compared with those of the files before."""
        arrays = super()._index(file)
        entries, offsets = arrays.pop("class_texts").tolist(), arrays.pop("class_offsets", np.zeros(0)).tolist()
        for entry, start in zip_longest(entries, offsets):  # an index of earlier versions has no offsets
            label, _, text = str(entry).partition(" ")
            where = file.name if start is None else f"the record at byte {start:,} of {file.name}"
            before, place = self.texts.setdefault(int(label), (text, where))
            if text != before:
                raise ConfigError(
                    f"the label {label} is {before!r} in {place}, and {text!r} in {where} (tfrecord.text); "
                    "make the files again, or name another feature as text or label"
                )
        return arrays

    def is_own_index(self, arrays: Arrays) -> bool:
        """Return whether the class texts and the offsets of their records can be those of a scan."""
        texts, offsets = arrays.get("class_texts"), arrays.get("class_offsets")
        if texts is None or texts.dtype.kind != "U" or texts.ndim != 1:
            return False
        if offsets is not None and (offsets.dtype != np.int64 or offsets.shape != texts.shape):
            return False
        return all(CLASS_TEXT.match(text) for text in texts.tolist()) and super().is_own_index(arrays)

    def get(self, index: int) -> bytes:
        file = self.file_of(index)
        offset, size = int(self.columns["offsets"][index]), int(self.columns["sizes"][index])
        if size > MAX_FILE_BYTES:
            raise too_large(size, self.name(index))
        if self.checked[index]:
            return file.read(offset, size)
        start, length = int(self.columns["starts"][index]), int(self.columns["lengths"][index])
        content = file.read(start, length + CRC.size)
        body = content[:length]
        if len(content) < length + CRC.size or CRC.unpack_from(content, length)[0] != masked(crc32c()(body)):
            raise ConfigError(f"{self.name(index)} is damaged: its crc32c differs; make or copy the file again")
        self.checked[index] = 1
        return body[offset - start : offset - start + size]

    def name(self, index: int) -> str:
        head = int(self.columns["starts"][index]) - HEAD.size
        return f"{self.key(index)} (record at byte {head:,} of {self.file_of(index).name})"

    def _share_checked(self) -> None:
        """Make the bytes that say which records were checked, shared with the processes forked from here on."""
        self.checked = mmap.mmap(-1, max(1, len(self.keys)))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "checked"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._share_checked()
