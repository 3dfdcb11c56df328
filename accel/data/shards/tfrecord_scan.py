"""Scan of a TFRecord file: where each record lies, its label, and the names in it.

A file is a row of records. Each, little endian: uint64 bytes of the content; uint32 masked crc32c of these 8 bytes; the content;
uint32 masked crc32c of the content.

Source: tensorflow/core/lib/io/record_writer.h.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from accel.data.shards import tf_example
from accel.data.shards.crc32c import crc32c, masked
from accel.data.shards.feature_names import NAMES, FeatureNames, described_names, sole_names
from accel.data.shards.range_reader import BufferedReader, RandomAccessFile
from accel.data.shards.tar_headers import refuse_compressed
from accel.data.shards.tf_example import BYTES, INTEGERS, KINDS, Feature
from accel.errors import ConfigError, nearest

if TYPE_CHECKING:
    from accel.data.remote.block_cache import BlockCache

__all__ = ["CRC", "HEAD", "READ_SIZE", "RecordEntry", "names_in", "scan_records"]

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


def names_in(file: RandomAccessFile, folder: str, cache: BlockCache | None) -> FeatureNames:
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
    texts = tf_example.byte_ranges(content, feature)
    return content[slice(*texts[0])].decode(errors="surrogateescape") if texts else ""
