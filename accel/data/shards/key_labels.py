"""Keys and labels of pictures in an LMDB file of another tool, by a pattern, a list or the folders of the keys."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from accel.data.codecs.pillow_decoder import SUFFIXES
from accel.errors import ConfigError, nearest

__all__ = [
    "ANY_LAYOUT",
    "NUMBER",
    "OCR_KEYS",
    "OCR_LABELS",
    "LMDBLayout",
    "Picture",
    "choose_keys",
    "class_labels",
    "has_suffix",
    "numbered",
    "read_list",
]

NUMBER = re.compile(r"%(0\d{1,2})?d")
"""The place of a number in a pattern of keys: `%d`, or `%09d` with nine digits."""
OCR_KEYS, OCR_LABELS = "image-%09d", "label-%09d"
"""The layout of text recognition: deep-text-recognition-benchmark and what came after it."""


class LMDBLayout(NamedTuple):
    """Settings that say which entries of an LMDB file are pictures, and what their labels are.

    Args:
        keys: Keys of the pictures: a number as `image-%09d`, a pattern as `*.JPEG`, or auto.
        labels: Where the classes stand: `folder`, the folder of each key; a file of lines `key label`, with SPLIT for the split;
            a key as `label-%09d`; or auto.
    """

    keys: str = "auto"
    labels: str = "auto"


ANY_LAYOUT = LMDBLayout()
"""The default: what can be told from the keys."""


class Picture(NamedTuple):
    """Picture of an LMDB file: number of its entry, its name, and the text of its label; None if its folder is its class."""

    entry: int
    name: str
    label: str | None = None


def has_suffix(key: str) -> bool:
    """Return whether a key ends as the file of a picture does."""
    return f".{key.rpartition('.')[2].lower()}" in SUFFIXES


def numbered(pattern: str, entries: Mapping[str, int]) -> list[tuple[int, str]]:
    """Return number and key of each entry that a pattern names, counted from 0 or 1 to the first that is missing."""
    if len(NUMBER.findall(pattern)) != 1 or pattern.count("%") != 1:
        raise ConfigError(f"lmdb: {pattern!r} must have one place for a number, as image-%09d has")
    number = 0 if pattern % 0 in entries else 1
    keys = []
    while (key := pattern % number) in entries:
        keys.append((number, key))
        number += 1
    if not keys:
        raise ConfigError(
            f"lmdb: there is neither a key {pattern % 0} nor {pattern % 1}{nearest(pattern % 1, list(entries)[:100])}"
        )
    return keys


def choose_keys(keys: str, entries: Mapping[str, int]) -> list[Picture]:
    """Return the entries that are pictures, by the setting `keys`: of auto those with a suffix of pictures, or all without one."""
    if keys == "auto":
        suffixed = [key for key in entries if has_suffix(key)]
        chosen = suffixed or [key for key in entries if not key.startswith("__") and key not in ("num-samples", "length", "keys")]
    elif "%" in keys:
        chosen = [key for _, key in numbered(keys, entries)]
    else:
        chosen = [key for key in entries if fnmatchcase(key, keys)]
        if not chosen:
            raise ConfigError(f"lmdb.keys={keys}: none of the {len(entries):,} keys fits, such as {next(iter(entries), '')!r}")
    return [Picture(entries[key], key) for key in chosen]


def read_list(file: str, entries: Mapping[str, int]) -> list[Picture]:
    """Return the pictures that a text file lists: `key label` in each line, apart by space, tab or comma.

    The key in the LMDB file may lack its suffix.

    The `meta_info.txt` of mmcv, `name (height,width,channels) compression`, gives no labels.

    Raises:
        ConfigError: If the file cannot be read, a line is none of these, or a key is missing.
    """
    try:
        lines = Path(file).expanduser().read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError as error:
        raise ConfigError(f"lmdb.labels={file} cannot be read: {error.strerror}") from None
    pictures = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        described = re.fullmatch(r"(.+?)\s+\([\d, ]+\)\s+\d+\s*", line)
        listed = re.fullmatch(r"(.+?)(?:\s*[,\t]\s*|\s+)([^\s,]+)\s*", line)
        name, label = (described[1], None) if described else listed.groups() if listed else ("", "")
        if not name:
            raise ConfigError(f"{file}: line {number} says {line[:60]!r}, and a key with its label is wanted")
        entry = entries.get(name, entries.get(name.rpartition(".")[0] if has_suffix(name) else name))
        if entry is None:
            raise ConfigError(
                f"{file}: line {number} names the key {name}, which is not in the LMDB file{nearest(name, list(entries)[:100])}"
            )
        pictures.append(Picture(entry, name, label))
    return pictures


def class_labels(texts: Sequence[str], name: Callable[[int], str], max_classes: int) -> tuple[list[int], list[str]]:
    """Return the label of each picture and the names of the classes, from the texts of the labels: numbers, or names.

    Args:
        texts: One for each picture.
        name: Name of a picture by its position, for messages.
        max_classes: Largest number of classes that numbers may stand for.

    Raises:
        ConfigError: If a label is empty, below 0 or too large.
    """
    if (empty := next((number for number, text in enumerate(texts) if not text), -1)) >= 0:
        raise ConfigError(f"{name(empty)} has no label; give it one, or leave it out of the list")
    if not all(re.fullmatch(r"-?\d{1,18}", text) for text in texts):
        classes = sorted(set(texts))
        numbers = {text: number for number, text in enumerate(classes)}
        return [numbers[text] for text in texts], classes
    labels = [int(text) for text in texts]
    if (odd := next((number for number, label in enumerate(labels) if not 0 <= label < max_classes), -1)) >= 0:
        raise ConfigError(f"{name(odd)} has the label {labels[odd]}; a class is a number from 0 to {max_classes - 1:,}")
    return labels, [str(number) for number in range(max(labels) + 1)]
