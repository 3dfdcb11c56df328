"""Data sets that the package datasets has saved on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from accel.errors import ConfigError

__all__ = ["is_saved_dataset", "read_saved_dataset"]

SPLITS = {"train": "train", "validation": "val", "val": "val", "valid": "val", "dev": "val", "test": "val"}
"""What splits are taken for, the first that is there."""


def is_saved_dataset(folder: Path) -> bool:
    """Return whether `save_to_disk` wrote a folder."""
    return any((folder / name).is_file() for name in ("dataset_dict.json", "dataset_info.json", "state.json"))


def read_saved_dataset(folder: Path, setting: str) -> dict[str, Any]:
    """Return the splits of a saved data set, memory-mapped: `train`, and `val` if it has one of that kind.

    Args:
        folder: that `save_to_disk` wrote.
        setting: that names it, for messages.

    Raises:
        ConfigError: if the package is not installed, or it cannot be read.
    """
    try:
        from datasets import DatasetDict, load_from_disk
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{setting}={folder} was saved by datasets, and {error.name} is not installed: pip install datasets"
        ) from None
    try:
        content = load_from_disk(str(folder))
    except Exception as error:  # whatever its readers trip over
        raise ConfigError(f"{setting}={folder} cannot be read by datasets: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(content, DatasetDict):
        return {"train": content}
    splits: dict[str, Any] = {}
    for name, meaning in SPLITS.items():
        if name in content:
            splits.setdefault(meaning, content[name])
    if "train" not in splits:
        raise ConfigError(f"{setting}={folder} has no split train; it has {', '.join(content)}")
    return splits
