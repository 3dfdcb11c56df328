"""WebDataset: a source that reads pictures from tar shards.

A sample is two members of one name, `key.jpg` and `key.cls`; other members of
that name (`.json`, `.txt`) are ignored. Tars of class folders,
`class/name.jpg`, are read too. Nothing is streamed: the headers are read once,
and the position of each picture is kept in the user's cache directory. Order,
augmentation, resuming and ranks are therefore those of a folder.

Hard and symbolic links are the members that they lead to, and a file may be
several tars, one behind the other. What is hidden, or is no picture, is passed
over, by the rule for folders.

Samples come in the order of their keys, or of the shards if a key comes twice.
Their labels are compared with the folder's, and names and classes if keys are
`class/name`. Braces are quoted twice on the command line:
'plugins.webdataset.path="DIR/SPLIT-{000..146}.tar"'.

Helps   data that comes in shards, with nothing to unpack; network disks and
        cold caches: a few large files are opened, not a million.
Hurts   spinning disks: pictures are read at random. A tar has no check of its
        contents: pack it (python -m accel pack) for a crc32 of every record.
Costs   the first run reads every header, which is 512 bytes for each member.
Source  WebDataset (Aizman, Maltzahn and Breuel, arXiv 2001.01858), whose shards
        these are; the package is not needed.
Exact   Yes: the same batches as from the folder that the shards were made of.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from accel.data.shards.webdataset_shards import Tars
from accel.data.splits.find_shards import TARS, find_shards
from accel.data.splits.shard_settings import ShardSettings
from accel.parts.shared.store_source import StoreSource, opened_or_new

__all__ = ["WebDataset"]


@dataclass(eq=False)
class WebDataset(StoreSource):
    """Source that reads the samples of tar shards in place of the files of SPLIT/.

    Args:
        path: folder or URL that holds SPLIT*.tar or SPLIT/*.tar; or the files, as DIR/SPLIT-{000..146}.tar or DIR/SPLIT-*.tar;
            auto: the folder that holds the folders of the splits.
        image: extension of the picture in each sample, such as jpg or left.png; auto: the one that is a picture's.
        label: extension of the label, a whole number.
    """

    path: str = "auto"
    image: str = "auto"
    label: str = "cls"

    def store_of(self, data: Any, split: str) -> Tars:
        names, settings = find_shards(data, split, self.path, TARS, self.name), self.shard_settings()
        return opened_or_new(Tars, data, names, settings.image, settings.label)

    def shard_settings(self) -> ShardSettings:
        return ShardSettings(image=self.image, label=self.label)
