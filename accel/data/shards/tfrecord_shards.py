"""TFRecord files of tf.train.Example, read without TensorFlow.

A file is a row of records. Each, little endian: uint64 bytes of the content; uint32 masked crc32c of these 8 bytes; the content;
uint32 masked crc32c of the content.

Source: tensorflow/core/lib/io/record_writer.h.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from struct import Struct
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from accel.data.shards import tf_example
from accel.data.shards.crc32c import crc32c, masked
from accel.data.shards.feature_names import NAMES, FeatureNames, class_names_beside, described_names, sole_names
from accel.data.shards.index_cache import pack_strings
from accel.data.shards.range_reader import BufferedReader, RandomAccessFile
from accel.data.shards.shard_store import ShardStore, names_from_folders, open_files
from accel.data.shards.tar_headers import refuse_compressed
from accel.data.shards.tf_example import BYTES, INTEGERS, KINDS, Feature
from accel.errors import ConfigError, nearest

if TYPE_CHECKING:
    from accel.data.remote.block_cache import BlockCache

__all__ = ["CRC", "HEAD", "READ_SIZE", "RecordEntry", "TFRecords", "scan_records"]

HEAD, CRC = Struct("<QI"), Struct("<I")
READ_SIZE = 1 << 22
"""Bytes that a scan reads at once."""


class RecordEntry(NamedTuple):
    """Index entry of one record.

    Args:
        start: Offset of its content in the file, in bytes.
        length: Bytes of its content.
        offset: Offset of the picture in the file, in bytes.
        size: Bytes of the picture.
        label: Number of its class.
        file: Name of its file; empty if unknown.
        text: Name of its class; empty if unknown.
    """

    start: int
    length: int
    offset: int
    size: int
    label: int
    file: str
    text: str


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
        self.features = features if features != NAMES else _names_in(open_files(names[:1], cache)[0], folder, cache)
        self.first = first
        self.class_texts = class_names_beside(folder, self.features.label, cache) if self.features != NAMES else []
        super().__init__(names, cache)
        self._share_checked()

    @property
    def index_kind(self) -> str:
        return f"tfrecord 1 {' '.join(self.features)}"

    def scan(self, file: RandomAccessFile) -> dict[str, NDArray[Any]]:
        """Return the index of one file, which is read once, from its beginning to its end."""
        entries = list(scan_records(file, self.features))
        classes = sorted({(entry.label, entry.text) for entry in entries if entry.text})
        return {
            **{
                name + "s": np.array([getattr(entry, name) for entry in entries], np.int64)
                for name in ("start", "length", "offset", "size", "label")
            },
            "class_texts": np.array([f"{label} {text}" for label, text in classes], dtype=np.str_),
            **pack_strings([entry.file for entry in entries]),
        }

    def finish_index(self) -> None:
        if len(set(self.keys)) < len(self.keys):
            self.keys = [f"{key}{'#' * bool(key)}{number:08}" for number, key in enumerate(self.keys)]
        labels = self.columns["labels"] - self.first
        if (labels < 0).any():
            odd = int(np.argmax(labels < 0))
            raise ConfigError(
                f"{self.name(odd)} has the label {self.label(odd)}, below that of the first class, {self.first} (tfrecord.first)"
            )
        self.columns["labels"] = labels
        pairs = (str(text).partition(" ") for text in self.columns.pop("class_texts", np.array([])).tolist())
        texts = {number: text for number, _, text in pairs if number.removeprefix("-").isdecimal()}
        texts = texts or {str(number + self.first): text for number, text in enumerate(self.class_texts)}
        count = max(int(labels.max()), *(int(number) - self.first for number in texts), 0) + 1
        names = names_from_folders(self.keys, labels)
        self.named = names is not None
        self.classes = names or [texts.get(str(number + self.first), str(number)) for number in range(count)]

    def get(self, index: int) -> bytes:
        file = self.file_of(index)
        offset, size = int(self.columns["offsets"][index]), int(self.columns["sizes"][index])
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


def scan_records(file: RandomAccessFile, names: FeatureNames) -> Iterator[RecordEntry]:
    """Yield the index entry of every record of a file.

    Raises:
        ConfigError: If the file is compressed, damaged or cut short, or a record is no Example with these features.
    """
    refuse_compressed(file)
    if not file.size:
        raise ConfigError(f"{file.name} is empty; make or copy it again")
    reader, at, number = BufferedReader(file, READ_SIZE), 0, 0
    while at < file.size:
        where = f"{file.name}: record {number}, at byte {at:,},"
        head = reader.read(at, HEAD.size)
        if len(head) < HEAD.size:
            raise ConfigError(f"{where} is cut short; make or copy the file again")
        length, crc = HEAD.unpack(head)
        if crc != masked(crc32c()(head[:8])):
            raise ConfigError(f"{where} is damaged: the crc32c of its length differs; or this is no TFRecord file")
        start = at + HEAD.size
        at = start + length + CRC.size
        if at > file.size:
            raise ConfigError(f"{where} is cut short: it ends at byte {at:,} of {file.size:,}; make or copy the file again")
        content = reader.read(start, length)
        try:
            yield _parse_record(content, start, names)
        except ValueError as error:
            tail = reader.read(start + length, CRC.size)
            if CRC.unpack(tail)[0] != masked(crc32c()(content)):
                raise ConfigError(f"{where} is damaged: its crc32c differs; make or copy the file again") from None
            raise ConfigError(f"{where} {error}") from None
        number += 1


def _names_in(file: RandomAccessFile, folder: str, cache: BlockCache | None) -> FeatureNames:
    """Return the default names if the first record of a file has them, or else those that leave no doubt.

    Whatever is wrong with the record is reported by the scan.
    """
    head = file.read(0, HEAD.size)
    length = HEAD.unpack(head)[0] if len(head) == HEAD.size else 0
    if length + HEAD.size + CRC.size > file.size:
        return NAMES
    record = file.read(HEAD.size, length)
    try:
        features = tf_example.features(record)
        if NAMES.image in features and NAMES.label in features:
            return NAMES
        return described_names(folder, cache) or sole_names(record, features) or NAMES
    except ValueError:
        return NAMES


def _parse_record(content: bytes, start: int, names: FeatureNames) -> RecordEntry:
    """Return the index entry of a record whose content begins at `start`. Raise ValueError if a feature is missing."""
    try:
        features = tf_example.features(content)
    except ValueError as error:
        raise ValueError(f"is no tf.train.Example: {error}") from None
    image, label = _feature(features, names.image, BYTES, "image"), _feature(features, names.label, INTEGERS, "label")
    pictures, labels = tf_example.byte_ranges(content, image), tf_example.int_values(content, label)
    for noun, values, name in (("picture", pictures, names.image), ("label", labels, names.label)):
        if len(values) != 1:
            raise ValueError(f"has {len(values) or 'no'} values in {name}, and one {noun} is wanted")
    file, text = (_text(content, features.get(name)) for name in (names.file, names.text))
    first, last = pictures[0]
    return RecordEntry(start, len(content), start + first, last - first, labels[0], file, text)


def _feature(features: dict[str, Feature], name: str, kind: int, setting: str) -> Feature:
    """Return a feature of a record. Raise ValueError if it is missing or of another kind, naming the `setting`."""
    if name not in features:
        names = ", ".join(sorted(features)) or "none"
        raise ValueError(f"has no feature {name} (tfrecord.{setting}); there are {names}{nearest(name, features)}")
    if features[name].kind != kind:
        kind_name = KINDS.get(features[name].kind, "nothing")
        raise ValueError(f"has {kind_name} in the feature {name} (tfrecord.{setting}), and {KINDS[kind]} are wanted")
    return features[name]


def _text(content: bytes, feature: Feature | None) -> str:
    """Return the first value of a list of bytes as text; empty if there is none."""
    if feature is None or feature.kind != BYTES:
        return ""
    return "".join(content[first:last].decode(errors="replace") for first, last in tf_example.byte_ranges(content, feature)[:1])
