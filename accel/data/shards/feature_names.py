"""Names of the features of a tf.train.Example: those that were set, or those that the files themselves leave no doubt about.

TensorFlow Datasets calls them `image` and `label`, and writes `features.json` and `label.labels.txt` beside its files. Other files
are known by their first record: the one feature that holds a picture, and the one that holds a whole number.

Source: tensorflow_datasets/core/features/features_dict.py and class_label_feature.py.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from accel.data.codecs.picture_signatures import is_encoded_picture
from accel.data.shards import tf_example
from accel.data.shards.range_reader import RandomAccessFile
from accel.data.shards.shard_store import open_files
from accel.data.shards.tf_example import BYTES, INTEGERS, Feature
from accel.errors import ConfigError

if TYPE_CHECKING:
    from accel.data.remote.block_cache import BlockCache

__all__ = ["MAX_METADATA", "NAMES", "FeatureNames", "class_names_beside", "described_names", "sole_names"]

MAX_METADATA = 1 << 24
"""Bytes of a file of metadata, at most: a million class names of 16 letters."""


class FeatureNames(NamedTuple):
    """Names of the features.

    Args:
        image: Feature that holds the encoded picture.
        label: Feature that holds the number of its class.
        text: Feature that holds the name of its class, if there is one.
        file: Feature that holds the name of its file, if there is one.
    """

    image: str = "image/encoded"
    label: str = "image/class/label"
    text: str = "image/class/text"
    file: str = "image/filename"


NAMES = FeatureNames()
"""The default: the names of Inception's and Slim's files."""


def described_names(folder: str, cache: BlockCache | None) -> FeatureNames | None:
    """Return the names that `features.json` in a folder gives: the one picture and the one class label; None without such a pair.

    Args:
        folder: Folder or URL of the files.
        cache: Cache of files at URLs.
    """
    with suppress(ValueError, AttributeError, TypeError, RecursionError):  # another tool's file of this name
        described: Any = json.loads(_content(f"{folder}/features.json", cache))
        features = described.get("featuresDict", {}).get("features") or described.get("content") or {}
        kinds = {
            str(name): str(item.get("pythonClassName") or item.get("type")).rpartition(".")[2] for name, item in features.items()
        }
        pictures, labels = ([name for name, kind in kinds.items() if kind == wanted] for wanted in ("Image", "ClassLabel"))
        if len(pictures) == len(labels) == 1:
            return FeatureNames(
                pictures[0], labels[0], "", next((name for name in ("file_name", "image/filename") if name in kinds), "")
            )
    return None


def class_names_beside(folder: str, label: str, cache: BlockCache | None) -> list[str]:
    """Return the names of the classes from `LABEL.labels.txt` in a folder or at a URL, one a line; [] if there is no such file."""
    text = _content(f"{folder}/{label.replace('/', '_')}.labels.txt", cache).decode(errors="replace")
    return [line.strip() for line in text.splitlines() if line.strip()]


def sole_names(record: bytes, features: dict[str, Feature]) -> FeatureNames | None:
    """Return the names of a record whose one picture and one whole number leave no doubt; None if there are none or several.

    Args:
        record: Content of the first record.
        features: Its features by name.
    """
    pictures = [name for name, feature in features.items() if feature.kind == BYTES and _holds_picture(record, feature)]
    numbers = [name for name, feature in features.items() if feature.kind == INTEGERS and _holds_number(record, feature)]
    labels = (
        [name for name in numbers if name.rpartition("/")[2] in ("label", "labels", "class", "target")]
        if len(numbers) > 1
        else numbers
    )
    if len(pictures) != 1 or len(labels) != 1:
        return None
    names = (name for name in ("file_name", "filename", "image/filename") if name in features and features[name].kind == BYTES)
    return FeatureNames(pictures[0], labels[0], NAMES.text, next(names, ""))


def _holds_picture(record: bytes, feature: Feature) -> bool:
    ranges = tf_example.byte_ranges(record, feature)
    return len(ranges) == 1 and is_encoded_picture(record[ranges[0][0] : ranges[0][1]])


def _holds_number(record: bytes, feature: Feature) -> bool:
    return len(tf_example.int_values(record, feature)) == 1


def _content(place: str, cache: BlockCache | None) -> bytes:
    """Return the bytes of a small file, here or at a URL; none if there is no such file."""
    try:
        file: RandomAccessFile = open_files([place], cache)[0]
        return file.read(0, min(file.size, MAX_METADATA))
    except ConfigError:
        return b""
