"""What a data set of pictures is made of."""

from __future__ import annotations

from pathlib import Path

from accel.data.remote.fsspec_client import is_url
from accel.data.splits.open_split import NAMES, split_at
from accel.data.splits.store_match import SplitStore
from accel.data.store import class_names
from accel.errors import ConfigError, nearest

__all__ = ["Split", "splits"]

Split = Path | SplitStore
"""A folder of class folders, or a store."""


def splits(root: str) -> tuple[str, list[str], dict[str, Split]]:
    """The split to evaluate on, the classes, and the splits, of a folder of pictures, or of stores or shards, or of a URL.

    Raises:
        ConfigError: where the folder, a split or the classes are missing, or the splits have different classes.
        TrainingError: where a URL cannot be reached.
    """
    far = is_url(root)
    root = root.rstrip("/") if far else str(Path(root).expanduser())
    if not far and not Path(root).is_dir():
        raise ConfigError(f"task.root={root}: there is no such folder")
    there = [] if far else class_names(Path(root))
    found = {split: at for split in NAMES if (at := _split(root, split, split in there)) is not None}
    held_out = "val" if "val" in found else "test"
    for split in ("train", held_out):
        if split not in found:
            wanted = "train" if split == "train" else "val or test"
            raise ConfigError(
                f"task.root={root} has no folder {wanted}; its pictures belong in {split}/<class>/{nearest(split, there)}"
                + ("" if there else f" (or in {split}.lmdb, {split}.raw, {split}*.tar or {split}*.tfrecord)")
            )
    classes, others = _classes(found["train"]), _classes(found[held_out])
    if len(classes) < 2:
        what = f"class folder{'s' * (not classes)}" if isinstance(found["train"], Path) else "class"
        raise ConfigError(f"{root}/train has {len(classes) or 'no'} {what}; it takes two or more")
    if not (_named(found["train"]) and _named(found[held_out])):  # numbers: of the last classes there may be no picture
        return held_out, max(classes, others, key=len), found
    if odd := sorted(set(classes) ^ set(others)):
        where = f"{'train' if odd[0] in classes else held_out} alone"
        raise ConfigError(f"task.root={root}: the class {odd[0]} is in {where}; all splits must have the same classes")
    return held_out, classes, found


def _split(root: str, split: str, there: bool) -> Split | None:
    folder = Path(root) / split
    if there and class_names(folder):
        return folder
    return split_at(root, split) or (folder if there else None)


def _classes(split: Split) -> list[str]:
    return class_names(split) if isinstance(split, Path) else split.classes


def _named(split: Split) -> bool:
    return isinstance(split, Path) or split.named
