"""Splits and classes of a data set of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accel.data.remote.fsspec_client import is_url
from accel.data.splits.open_split import SPLITS, open_split
from accel.data.splits.store_match import SplitStore
from accel.data.store import class_names
from accel.errors import ConfigError, nearest
from accel.parts.shared.store_source import StoreSource

__all__ = ["Split", "find_splits"]

Split = Path | SplitStore
"""Folder of class folders, or store."""


def find_splits(root: str, plugins: Sequence[Any] = ()) -> tuple[str, list[str], dict[str, Split]]:
    """Return the splits of a folder of pictures, of stores or shards, or of a URL.

    Args:
        root: Folder or URL that holds the splits.
        plugins: Plugins of the run. A source among them says how files of other tools are read, and by its `path` where a split is
            that the root does not have.

    Returns:
        Name of the split to evaluate on (val, or test if there is no val), names of the classes, and the splits by name.

    Raises:
        ConfigError: If the folder, a split or the classes are missing, or the splits have different classes.
        TrainingError: If a URL cannot be reached.
    """
    remote = is_url(root)
    root = root.rstrip("/") if remote else str(Path(root).expanduser())
    if not remote and not Path(root).is_dir():
        raise ConfigError(f"task.root={root}: there is no such folder")
    folders = [] if remote else class_names(Path(root))
    source = next((plugin for plugin in plugins if isinstance(plugin, StoreSource)), StoreSource())
    splits = {name: split for name in SPLITS if (split := _open(root, name, name in folders, source)) is not None}
    if "train" not in splits:
        splits |= {name: split for name in SPLITS if (split := source.named_store(name)) is not None}
    held_out = "val" if "val" in splits else "test"
    for name in ("train", held_out):
        if name not in splits:
            wanted = "train" if name == "train" else "val or test"
            raise ConfigError(
                f"task.root={root} has no folder {wanted}; its pictures belong in {name}/<class>/{nearest(name, folders)}"
                + ("" if folders else f" (or in {name}.lmdb, {name}.raw, {name}*.tar or {name}*.tfrecord)")
            )
    return held_out, _common_classes(root, splits["train"], splits[held_out], held_out), splits


def _common_classes(root: str, train: Split, evaluation: Split, held_out: str) -> list[str]:
    """Return the classes of both splits; `held_out` is the name of the second. Raise ConfigError if they differ."""
    classes, evaluated = _classes(train), _classes(evaluation)
    if len(classes) < 2:
        noun = f"class folder{'s' * (not classes)}" if isinstance(train, Path) else "class"
        raise ConfigError(f"{root}/train has {len(classes) or 'no'} {noun}; it takes two or more")
    if not (_named(train) and _named(evaluation)):  # numbers: of the last classes there may be no picture
        return max(classes, evaluated, key=len)
    if odd := sorted(set(classes) ^ set(evaluated)):
        where = f"{'train' if odd[0] in classes else held_out} alone"
        raise ConfigError(f"task.root={root}: the class {odd[0]} is in {where}; all splits must have the same classes")
    return classes


def _open(root: str, name: str, is_folder: bool, source: StoreSource) -> Split | None:
    """Return a split by name, or None if there is none; `is_folder` says whether the root has a folder of that name."""
    folder = Path(root) / name
    if is_folder and class_names(folder):
        return folder
    return open_split(root, name, settings=source.shard_settings()) or (folder if is_folder else None)


def _classes(split: Split) -> list[str]:
    """Return the names of the classes of a split."""
    return class_names(split) if isinstance(split, Path) else split.classes


def _named(split: Split) -> bool:
    """Return whether the classes of a split have names."""
    return isinstance(split, Path) or split.named
