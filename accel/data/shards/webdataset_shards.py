"""Tar shards: samples as WebDataset writes them, `key.jpg` beside `key.cls`, or class folders, `class/name.jpg`.

Source: Aizman, Maltzahn and Breuel, High Performance I/O For Large Scale Deep Learning, arXiv 2001.01858.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from accel.data.codecs.pillow_decoder import SUFFIXES
from accel.data.shards.index_cache import pack_strings
from accel.data.shards.range_reader import BufferedReader, RandomAccessFile
from accel.data.shards.shard_store import ShardStore, names_from_folders
from accel.data.shards.tar_headers import Member, members
from accel.errors import ConfigError

if TYPE_CHECKING:
    from accel.data.remote.block_cache import BlockCache

__all__ = ["MAX_LABEL_BYTES", "TarSample", "Tars"]

MAX_LABEL_BYTES = 1 << 12
"""Bytes that a label may have, at most."""


class TarSample(NamedTuple):
    """Picture in a tar.

    Args:
        key: Path in the tar, with its extension.
        offset: Offset in the tar, in bytes.
        size: Bytes of the picture.
        label: Number of its class; -1 for none.
    """

    key: str
    offset: int
    size: int
    label: int


class Tars(ShardStore):
    """Store of the pictures of tar files: sorted by key, as class folders are; in the tars' order if a key comes twice.

    Members of one name up to its first dot are one sample. Its label is a whole number in the member `label`. A set of tars without
    any takes its labels from the folders, of which the first below those that all pictures share is the class.

    Args:
        names: Paths or URLs of the files, in order.
        image: Extension of the picture in each sample; auto: that of a picture, if there is one.
        label: Extension of its label.
        inside: Read only the members in this folder of the tars.
        cache: Cache of files at URLs; None for the default one.

    Raises:
        ConfigError: If a file is missing, damaged or of another format, or a sample has no picture or no label.
    """

    kind = "Tars"

    def __init__(
        self, names: Sequence[str], image: str = "auto", label: str = "cls", inside: str = "", cache: BlockCache | None = None
    ) -> None:
        self.made_of = list(names), image, label
        self.image_extension, self.label_extension = image.lower().removeprefix("."), label.lower().removeprefix(".")
        self.member_folder = inside
        super().__init__(names, cache)

    @property
    def index_kind(self) -> str:
        return f"tar 1 {self.image_extension} {self.label_extension} {self.member_folder}"

    def scan(self, file: RandomAccessFile) -> dict[str, NDArray[Any]]:
        """Return the index of one file, of which headers and labels are read."""
        inside = (member for member in members(file) if member.name.startswith(self.member_folder))
        shown = [member for member in inside if _is_sample_member(member.name)]
        labelled = any(_extension(member.name) == self.label_extension for member in shown)
        samples = list(self._samples(file, shown) if labelled else _pictures(shown))
        return {
            "offsets": np.array([sample.offset for sample in samples], np.int64),
            "sizes": np.array([sample.size for sample in samples], np.int64),
            "labels": np.array([sample.label for sample in samples], np.int64),
            **pack_strings([sample.key.removeprefix(self.member_folder) for sample in samples]),
        }

    def _samples(self, file: RandomAccessFile, shown: list[Member]) -> Iterator[TarSample]:
        """Yield the samples of a tar that has labels."""
        reader = BufferedReader(file, 512)
        for key, group in _groups(file, shown).items():
            picture = self._picture(file, key, group)
            text = group.get(self.label_extension)
            if text is None:
                raise ConfigError(
                    f"{file.name}: the sample {key} has no label: there is no member {key}.{self.label_extension}; "
                    "make the shard again"
                )
            label = reader.read(text.offset, min(text.size, MAX_LABEL_BYTES)).decode(errors="replace").strip()
            if text.size > MAX_LABEL_BYTES or not label.isdecimal() or int(label) >= 1 << 31:
                raise ConfigError(f"{file.name}: the member {text.name} is no label: it says {label[:20]!r}, and no whole number")
            yield TarSample(picture.name, picture.offset, picture.size, int(label))

    def _picture(self, file: RandomAccessFile, key: str, group: dict[str, Member]) -> Member:
        """Return the member of a sample that is its picture; `group` is the sample's members by extension."""
        if self.image_extension != "auto":
            if self.image_extension in group:
                return group[self.image_extension]
            extensions, missing = ", ".join(f".{name}" for name in sorted(group)), f"{key}.{self.image_extension}"
            raise ConfigError(f"{file.name}: the sample {key} has no member {missing} (webdataset.image); it has {extensions}")
        pictures = [name for name in group if f".{name.rpartition('.')[2]}" in SUFFIXES]
        if len(pictures) == 1:
            return group[pictures[0]]
        if pictures:
            raise ConfigError(
                f"{file.name}: the sample {key} has {len(pictures)} pictures, {' and '.join(sorted(pictures))}; "
                f"say which with webdataset.image={min(pictures, key=len)}"
            )
        names, kinds = ", ".join(sorted(group[name].name for name in group)), ", ".join(sorted(SUFFIXES))
        raise ConfigError(f"{file.name}: none of the members {names} is a picture ({kinds}); make the shard again")

    def finish_index(self) -> None:
        self.class_root = self.member_folder  # the folder of the tars that holds those of the classes
        labels = self.columns["labels"]
        if (labels < 0).all():
            self._label_by_folder()
        elif (labels < 0).any():
            name = self.name(int(np.argmax(labels < 0)))
            raise ConfigError(f"{name} has no label, and other shards have some; give it a member .{self.label_extension}")
        else:
            names = names_from_folders(self.keys, labels)
            self.named = names is not None
            self.classes = names or [str(number) for number in range(int(labels.max()) + 1)]
        if len(set(self.keys)) == len(self.keys):
            order = sorted(range(len(self.keys)), key=lambda number: _sort_key(self.keys[number]))
            if order != list(range(len(order))):
                self.reorder(np.array(order))

    def _label_by_folder(self) -> None:
        """Set labels and classes from the folders of the keys, below the folders that all keys share."""
        while len({key.partition("/")[0] for key in self.keys}) == 1 and all(key.count("/") > 1 for key in self.keys):
            self.class_root += f"{self.keys[0].partition('/')[0]}/"
            self.keys = [key.partition("/")[2] for key in self.keys]
        for number, key in enumerate(self.keys):
            if "/" not in key:
                raise ConfigError(
                    f"{self.name(number)} has no label: neither a member .{self.label_extension} beside it, "
                    "nor a folder for its class"
                )
        self.classes, self.named = sorted({key.partition("/")[0] for key in self.keys}), True
        numbers = {name: number for number, name in enumerate(self.classes)}
        self.columns["labels"] = np.array([numbers[key.partition("/")[0]] for key in self.keys], np.int64)


def _groups(file: RandomAccessFile, shown: list[Member]) -> dict[str, dict[str, Member]]:
    """Return the members of each sample by extension, by the sample's key."""
    groups: dict[str, dict[str, Member]] = {}
    for member in shown:
        extension = _extension(member.name)
        group = groups.setdefault(member.name[: len(member.name) - len(extension) - 1] if extension else member.name, {})
        if extension in group:
            raise ConfigError(f"{file.name} has the member {member.name} twice; make it again")
        group[extension] = member
    return groups


def _pictures(shown: list[Member]) -> Iterator[TarSample]:
    """Yield each picture as a sample without a label; other files are left out, as in a folder."""
    for member in shown:
        if f".{member.name.rpartition('.')[2].lower()}" in SUFFIXES:
            yield TarSample(member.name, member.offset, member.size, -1)


def _sort_key(key: str) -> tuple[str, str]:
    """Return the class and the path of a key: the order of class folders."""
    return key.partition("/")[0] if "/" in key else "", key


def _extension(name: str) -> str:
    """Return all behind the first dot of a file's name, in small letters."""
    return name.rpartition("/")[2].partition(".")[2].lower()


def _is_sample_member(name: str) -> bool:
    """Return whether a member belongs to a sample: not if it is hidden, or WebDataset's own (`__index__`)."""
    return not name.rpartition("/")[2].startswith((".", "__"))
