"""Tar files: samples as WebDataset writes them, `key.jpg` beside `key.cls`, or class folders, `class/name.jpg`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from accel.data.codecs.pillow_decoder import SUFFIXES
from accel.data.shards.index_cache import pack_strings
from accel.data.shards.range_reader import Pieces, Reader
from accel.data.shards.shard_store import Shards
from accel.data.shards.tar_headers import Member, members
from accel.errors import ConfigError

if TYPE_CHECKING:
    from accel.data.remote.block_cache import BlockCache

__all__ = ["NOTES", "Sample", "Tars"]

NOTES = 1 << 12
"""The most bytes that a label may have."""


class Sample(NamedTuple):
    """A picture in a tar."""

    key: str
    """With its extension."""
    offset: int
    size: int
    label: int
    """-1 where there is none."""


class Tars(Shards):
    """The pictures of tar files: sorted by key where no key comes twice, as class folders are, and else as they lie there.

    Members of one name up to its first dot are one sample. Its label is a whole number in the member `label`; a set of tars without
    any takes its labels from the folders, of which the first below those that all pictures share is the class.

    Args:
        names: the files, in order; local ones or URLs.
        image: the extension of the picture in each sample; auto: that of a picture, where there is one.
        label: the extension of its label.
        inside: take only what lies in this folder of the tars.
        cache: where files at URLs are kept.
    """

    def __init__(
        self, names: Sequence[str], image: str = "auto", label: str = "cls", inside: str = "", cache: BlockCache | None = None
    ) -> None:
        self.image, self.text, self.inside = image.lower().removeprefix("."), label.lower().removeprefix("."), inside
        super().__init__(names, cache)

    @property
    def kind(self) -> str:
        return f"tar 1 {self.image} {self.text} {self.inside}"

    def scan(self, file: Pieces) -> dict[str, NDArray[Any]]:
        """Reads headers and labels alone."""
        found = [item for item in members(file) if _shown(item.name) and item.name.startswith(self.inside)]
        whole = any(_extension(item.name) == self.text for item in found)
        samples = list(self._samples(file, found) if whole else self._pictures(file, found))
        return {
            "offsets": np.array([sample.offset for sample in samples], np.int64),
            "sizes": np.array([sample.size for sample in samples], np.int64),
            "labels": np.array([sample.label for sample in samples], np.int64),
            **pack_strings([sample.key.removeprefix(self.inside) for sample in samples]),
        }

    def _samples(self, file: Pieces, found: list[Member]) -> Iterator[Sample]:
        groups: dict[str, dict[str, Member]] = {}
        for item in found:
            extension = _extension(item.name)
            group = groups.setdefault(item.name[: len(item.name) - len(extension) - 1] if extension else item.name, {})
            if extension in group:
                raise ConfigError(f"{file.name} has the member {item.name} twice; make it again")
            group[extension] = item
        reader = Reader(file, 512)
        for key, group in groups.items():
            picture = self._picture(file, key, group)
            text = group.get(self.text)
            if text is None:
                raise ConfigError(
                    f"{file.name}: the sample {key} has no label: there is no member {key}.{self.text}; make the shard again"
                )
            written = reader.read(text.offset, min(text.size, NOTES)).decode(errors="replace").strip()
            if text.size > NOTES or not written.isdecimal() or int(written) >= 1 << 31:
                raise ConfigError(f"{file.name}: the member {text.name} is no label: it says {written[:20]!r}, and no whole number")
            yield Sample(picture.name, picture.offset, picture.size, int(written))

    def _picture(self, file: Pieces, key: str, group: dict[str, Member]) -> Member:
        if self.image != "auto":
            if self.image in group:
                return group[self.image]
            has = ", ".join(f".{name}" for name in sorted(group))
            raise ConfigError(f"{file.name}: the sample {key} has no member {key}.{self.image} (webdataset.image); it has {has}")
        there = [name for name in group if f".{name.rpartition('.')[2]}" in SUFFIXES]
        if len(there) == 1:
            return group[there[0]]
        if there:
            raise ConfigError(
                f"{file.name}: the sample {key} has {len(there)} pictures, {' and '.join(sorted(there))}; "
                f"say which with webdataset.image={min(there, key=len)}"
            )
        members, kinds = ", ".join(sorted(group[name].name for name in group)), ", ".join(sorted(SUFFIXES))
        raise ConfigError(f"{file.name}: none of the members {members} is a picture ({kinds}); make the shard again")

    def _pictures(self, file: Pieces, found: list[Member]) -> Iterator[Sample]:
        """Each picture is a sample; other files are left alone, as in a folder."""
        for item in found:
            if f".{item.name.rpartition('.')[2].lower()}" in SUFFIXES:
                yield Sample(item.name, item.offset, item.size, -1)

    def arrange(self) -> None:
        self.home = self.inside  # the folder of the tars that holds those of the classes
        labels = self.columns["labels"]
        if (labels < 0).all():
            self._by_folder()
        elif (labels < 0).any():
            odd = int(np.argmax(labels < 0))
            raise ConfigError(f"{self.name(odd)} has no label, and other shards have some; give it a member .{self.text}")
        else:
            self.classes, self.named = _names(self.keys, labels)
        if len(set(self.keys)) == len(self.keys):
            order = sorted(range(len(self.keys)), key=lambda number: _place(self.keys[number]))
            if order != list(range(len(order))):
                self.take(np.array(order))

    def _by_folder(self) -> None:
        while len({key.partition("/")[0] for key in self.keys}) == 1 and all(key.count("/") > 1 for key in self.keys):
            self.home += f"{self.keys[0].partition('/')[0]}/"
            self.keys = [key.partition("/")[2] for key in self.keys]
        for number, key in enumerate(self.keys):
            if "/" not in key:
                raise ConfigError(
                    f"{self.name(number)} has no label: neither a member .{self.text} beside it, nor a folder for its class"
                )
        self.classes, self.named = sorted({key.partition("/")[0] for key in self.keys}), True
        numbers = {name: number for number, name in enumerate(self.classes)}
        self.columns["labels"] = np.array([numbers[key.partition("/")[0]] for key in self.keys], np.int64)


def _names(keys: list[str], labels: NDArray[np.int64]) -> tuple[list[str], bool]:
    """The names of the classes: the folders of the keys, where these say the same as the labels; else their numbers."""
    folders = [key.partition("/")[0] if "/" in key else "" for key in keys]
    names = sorted(set(folders))
    if "" not in names and [names[label] if label < len(names) else "" for label in labels.tolist()] == folders:
        return names, True
    return [str(number) for number in range(int(labels.max()) + 1)], False


def _place(key: str) -> tuple[str, str]:
    """By which keys are sorted: the class, then the path, as class folders are."""
    return key.partition("/")[0] if "/" in key else "", key


def _extension(name: str) -> str:
    """All behind the first dot of the file's name, in small letters."""
    return name.rpartition("/")[2].partition(".")[2].lower()


def _shown(name: str) -> bool:
    """Whether a member is one of a sample: hidden files and WebDataset's own (`__index__`) are not."""
    return not name.rpartition("/")[2].startswith((".", "__"))
