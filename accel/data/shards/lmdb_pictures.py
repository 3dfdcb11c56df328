"""Pictures in an LMDB file of another tool: encoded files by their keys."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from accel.data.codecs.picture_signatures import is_encoded_picture
from accel.data.shards.index_cache import pack_strings
from accel.data.shards.key_labels import (
    ANY_LAYOUT,
    OCR_KEYS,
    OCR_LABELS,
    LMDBLayout,
    Picture,
    choose_keys,
    class_labels,
    numbered,
    read_list,
)  # fmt: skip
from accel.data.shards.lmdb_tree import lmdb_entries
from accel.data.shards.range_reader import RandomAccessFile
from accel.data.shards.shard_store import ShardStore, names_from_folders
from accel.errors import ConfigError

if TYPE_CHECKING:
    from accel.data.remote.block_cache import BlockCache

__all__ = ["MAX_CLASSES", "META_INFO", "PICKLES", "LMDBPictures"]

META_INFO = "meta_info.txt"
"""File of mmcv's layout beside `data.mdb`: the names of the pictures, whose keys have no suffix."""
MAX_CLASSES = 1 << 20
"""Classes that numbers may stand for, at most."""
PICKLES = (*(bytes([0x80, protocol]) for protocol in range(2, 6)), b"(lp", b"(dp", b"(S'", b"(V")
"""First bytes of Python objects that pickle wrote."""


class LMDBPictures(ShardStore):
    """Store of the pictures of an LMDB file that accel did not make: in the order of class folders, of a list, or of numbers.

    The values are the bytes of encoded pictures. Values that hold pickled objects are refused: to read one is to run it.

    Args:
        file: The file `data.mdb`, or one by another name.
        layout: Which entries are pictures, and where their labels stand.
        split: Name of the split, for SPLIT in `layout.labels`.
        cache: Cache of files at URLs; None for the default one.

    Raises:
        ConfigError: If the file is missing, damaged or of another format, values are no pictures, or labels are missing.
    """

    kind = "LMDBPictures"

    def __init__(self, file: str, layout: LMDBLayout = ANY_LAYOUT, split: str = "SPLIT", cache: BlockCache | None = None) -> None:
        self.file, self.layout, self.split, self.place = file, layout, split, file.removesuffix("/data.mdb")
        self.entries_left_out = 0
        super().__init__([file], cache)

    @property
    def index_kind(self) -> str:
        return "lmdb entries 1"

    def scan(self, file: RandomAccessFile) -> dict[str, NDArray[Any]]:
        """Return the index of all entries, of which the labels are -1 for now."""
        entries = list(lmdb_entries(file))
        return {
            "offsets": np.array([entry.offset for entry in entries], np.int64),
            "sizes": np.array([entry.size for entry in entries], np.int64),
            "labels": np.full(len(entries), -1, np.int64),
            **pack_strings([entry.key.decode(errors="surrogateescape") for entry in entries]),
        }

    def finish_index(self) -> None:
        self.path = self.place
        entries = {key: number for number, key in enumerate(self.keys)}
        if {"header", "index"} <= entries.keys():  # accel's own, and its seal is gone
            raise ConfigError(
                f"the store {self.path} is cut short or damaged: what must stand at its end is missing; copy or pack it again"
            )
        pictures = self._labelled(entries)
        self.entries_left_out = len(entries) - len(pictures)
        self.reorder(np.array([picture.entry for picture in pictures]))
        self.keys = [picture.name for picture in pictures]
        texts = [picture.label for picture in pictures if picture.label is not None]
        if len(texts) < len(pictures):
            self._label_by_folder()
        else:
            labels, classes = class_labels(texts, self.name, MAX_CLASSES)
            self.columns["labels"] = np.array(labels, np.int64)
            names = names_from_folders(self.keys, self.columns["labels"]) if len(set(self.keys)) == len(self.keys) else None
            self.named, self.classes = names is not None, names or classes
        self._check_values()

    def _labelled(self, entries: dict[str, int]) -> list[Picture]:
        """Return the pictures, each with the text of its label, or all without one if their folders are the classes."""
        keys, labels = self.layout
        if (keys, labels) == ("auto", "auto") and OCR_KEYS % 1 in entries and OCR_LABELS % 1 in entries:
            keys, labels = OCR_KEYS, OCR_LABELS
        if labels not in ("auto", "folder") and "%" not in labels:
            pictures = read_list(labels.replace("SPLIT", self.split), entries)
        elif keys == "auto" and (listed := Path(self.place) / META_INFO).is_file():
            pictures = read_list(str(listed), entries)
        else:
            pictures = choose_keys(keys, entries)
        if "%" in labels:
            pictures = self._label_by_key(labels, keys, entries)
        if not pictures:
            raise ConfigError(f"{self.path} holds no pictures by lmdb.keys={keys} and lmdb.labels={labels}; see accel plugins lmdb")
        return pictures

    def _label_by_key(self, labels: str, keys: str, entries: dict[str, int]) -> list[Picture]:
        """Return the pictures of a numbered pattern, with the values of the labels of the same numbers."""
        if "%" not in keys:
            raise ConfigError(f"lmdb.labels={labels} goes by numbers; say the keys of the pictures so too: lmdb.keys=image-%09d")
        pictures = []
        for number, key in numbered(keys, entries):
            if (entry := entries.get(labels % number)) is None:
                raise ConfigError(f"{self.path} has the key {key}, and none {labels % number} (lmdb.labels)")
            label = self.get(entry).decode(errors="replace").strip()
            pictures.append(Picture(entries[key], key, label))
        return pictures

    def _label_by_folder(self) -> None:
        """Set labels and classes from the folders of the keys, below those that all keys share, and sort as class folders are."""
        while len({key.partition("/")[0] for key in self.keys}) == 1 and all(key.count("/") > 1 for key in self.keys):
            self.keys = [key.partition("/")[2] for key in self.keys]
        if bare := next((key for key in self.keys if "/" not in key), ""):
            raise ConfigError(
                f"{self.path}: the key {bare} has no folder for its class; say where labels stand: lmdb.labels=FILE with a line "
                "'key label' for each picture, or lmdb.labels=label-%09d beside lmdb.keys=image-%09d"
            )
        self.reorder(np.array(sorted(range(len(self.keys)), key=lambda number: self.keys[number].partition("/")[::2])))
        self.classes, self.named = sorted({key.partition("/")[0] for key in self.keys}), True
        numbers = {name: number for number, name in enumerate(self.classes)}
        self.columns["labels"] = np.array([numbers[key.partition("/")[0]] for key in self.keys], np.int64)

    def _check_values(self) -> None:
        """Raise ConfigError if the first, the middle and the last value all begin as no picture does."""
        beginnings = []
        for number in sorted({0, len(self) // 2, len(self) - 1}):
            size = min(16, int(self.columns["sizes"][number]))
            beginnings.append(self.shard_files[0].read(int(self.columns["offsets"][number]), size))
        if any(map(is_encoded_picture, beginnings)):
            return
        name = self.name(0)
        if beginnings[0].startswith(PICKLES):
            raise ConfigError(f"{name} is a pickled Python object, and reading one runs it; write the bytes of the picture alone")
        raise ConfigError(
            f"{name} begins with {beginnings[0]!r}, as no encoded picture does (JPEG, PNG, ...); name other keys with lmdb.keys, "
            "or write the bytes of each picture's file"
        )

    def describe(self) -> str:
        left_out = f"; {self.entries_left_out:,} other entries were left out" if self.entries_left_out else ""
        return super().describe() + left_out
