"""TFRecord files of tf.train.Example, without TensorFlow."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from struct import Struct
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from accel.data.shards import tf_example
from accel.data.shards.crc32c import crc32c, masked
from accel.data.shards.index_cache import pack_strings
from accel.data.shards.range_reader import Pieces, Reader
from accel.data.shards.shard_store import Shards
from accel.data.shards.tar_headers import refuse_packed
from accel.data.shards.tf_example import BYTES, KINDS, NUMBERS, Feature
from accel.errors import ConfigError, nearest

if TYPE_CHECKING:
    from accel.data.remote.block_cache import BlockCache

__all__ = ["CRC", "HEAD", "NAMES", "PIECE", "Names", "Record", "TFRecords", "records"]

HEAD, CRC = Struct("<QI"), Struct("<I")
"""Length of the content and its checksum before it; the content's own behind it."""
PIECE = 1 << 22


class Names(NamedTuple):
    """Of the features."""

    image: str = "image/encoded"
    label: str = "image/class/label"
    text: str = "image/class/text"
    """The class's name, where there is one."""
    file: str = "image/filename"
    """The picture's name, where there is one."""


NAMES = Names()


class Record(NamedTuple):
    """What is known of one record."""

    start: int
    """Of its content, in bytes from the beginning of the file."""
    length: int
    offset: int
    """Of the picture."""
    size: int
    label: int
    file: str
    text: str


class TFRecords(Shards):
    """The pictures of TFRecord files, in the order in which they lie there.

    The checksum of a record is compared when it is first read.

    Args:
        names: the files, in order; local ones or URLs.
        features: what the picture, the label and the names are called.
        first: the number that the first class has.
        cache: where files at URLs are kept.
    """

    def __init__(self, names: Sequence[str], features: Names = NAMES, first: int = 0, cache: BlockCache | None = None) -> None:
        self.features, self.first = features, first
        super().__init__(names, cache)
        self._share()

    @property
    def kind(self) -> str:
        return f"tfrecord 1 {' '.join(self.features)}"

    def scan(self, file: Pieces) -> dict[str, NDArray[Any]]:
        """Reads the whole file once, from its beginning to its end."""
        found = list(records(file, self.features))
        classes = sorted({(record.label, record.text) for record in found if record.text})
        return {
            **{
                name + "s": np.array([getattr(record, name) for record in found], np.int64)
                for name in ("start", "length", "offset", "size", "label")
            },
            "class_texts": np.array([f"{label} {text}" for label, text in classes], dtype=np.str_),
            **pack_strings([record.file for record in found]),
        }

    def arrange(self) -> None:
        if len(set(self.keys)) < len(self.keys):
            self.keys = [f"{key}{'#' * bool(key)}{number:08}" for number, key in enumerate(self.keys)]
        labels = self.columns["labels"] - self.first
        if (labels < 0).any():
            odd = int(np.argmax(labels < 0))
            raise ConfigError(
                f"{self.name(odd)} has the label {self.label(odd)}, below that of the first class, {self.first} (tfrecord.first)"
            )
        self.columns["labels"] = labels
        texts = dict(text.split(" ", 1) for text in self.columns.pop("class_texts").tolist())
        count = max(int(labels.max()), *(int(number) - self.first for number in texts), 0) + 1
        self.classes = [texts.get(str(number + self.first), str(number)) for number in range(count)]
        folders = [key.partition("/")[0] if "/" in key else "" for key in self.keys]
        names = sorted(set(folders))
        self.named = "" not in names and [names[label] if label < len(names) else "" for label in labels.tolist()] == folders
        if self.named:
            self.classes = names

    def get(self, index: int) -> bytes:
        file = self.file(index)
        offset, size = int(self.columns["offsets"][index]), int(self.columns["sizes"][index])
        if self.seen[index]:
            return file.read(offset, size)
        start, length = int(self.columns["starts"][index]), int(self.columns["lengths"][index])
        content = file.read(start, length + CRC.size)
        body = content[:length]
        if CRC.unpack_from(content, length)[0] != masked(crc32c()(body)):
            raise ConfigError(f"{self.name(index)} is damaged: its crc32c differs; make or copy the file again")
        self.seen[index] = 1
        return body[offset - start : offset - start + size]

    def name(self, index: int) -> str:
        return f"{self.key(index)} (record at byte {int(self.columns['starts'][index]) - HEAD.size:,} of {self.file(index).name})"

    def _share(self) -> None:
        self.seen = mmap.mmap(-1, max(1, len(self.keys)))  # shared with the processes forked from here on

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "seen"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._share()


def records(file: Pieces, names: Names) -> Iterator[Record]:
    """Every record of a file: where its picture lies, and its label.

    Raises:
        ConfigError: where the file is compressed, damaged or cut short, or a record is no Example with these features.
    """
    refuse_packed(file)
    if not file.size:
        raise ConfigError(f"{file.name} is empty; make or copy it again")
    reader, at, number = Reader(file, PIECE), 0, 0
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
            yield _record(content, start, names)
        except ValueError as error:
            tail = reader.read(start + length, CRC.size)
            if CRC.unpack(tail)[0] != masked(crc32c()(content)):
                raise ConfigError(f"{where} is damaged: its crc32c differs; make or copy the file again") from None
            raise ConfigError(f"{where} {error}") from None
        number += 1


def _record(content: bytes, start: int, names: Names) -> Record:
    try:
        found = tf_example.features(content)
    except ValueError as error:
        raise ValueError(f"is no tf.train.Example: {error}") from None
    image, label = _wanted(found, names.image, BYTES, "image"), _wanted(found, names.label, NUMBERS, "label")
    pictures, labels = tf_example.texts(content, image), tf_example.numbers(content, label)
    for what, values, name in (("picture", pictures, names.image), ("label", labels, names.label)):
        if len(values) != 1:
            raise ValueError(f"has {len(values) or 'no'} values in {name}, and one {what} is wanted")
    file, text = (_text(content, found.get(name)) for name in (names.file, names.text))
    first, last = pictures[0]
    return Record(start, len(content), start + first, last - first, labels[0], file, text)


def _wanted(found: dict[str, Feature], name: str, kind: int, setting: str) -> Feature:
    if name not in found:
        there = ", ".join(sorted(found)) or "none"
        raise ValueError(f"has no feature {name} (tfrecord.{setting}); there are {there}{nearest(name, found)}")
    if found[name].kind != kind:
        has = KINDS.get(found[name].kind, "nothing")
        raise ValueError(f"has {has} in the feature {name} (tfrecord.{setting}), and {KINDS[kind]} are wanted")
    return found[name]


def _text(content: bytes, feature: Feature | None) -> str:
    if feature is None or feature.kind != BYTES:
        return ""
    return "".join(content[first:last].decode(errors="replace") for first, last in tf_example.texts(content, feature)[:1])
