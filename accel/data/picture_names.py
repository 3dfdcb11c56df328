"""Names of pictures: which files of a data set are samples, which are not, and a count of those that are not.

The rule holds for folders, tars, packing and URLs. A file is a sample by its suffix, in small or capital letters. What an editor, a
file manager or a file server puts beside the pictures is hidden, and no part of the data, at any depth.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from accel.errors import listed

__all__ = ["HIDDEN", "MAX_REASONS", "SUFFIXES", "USUAL", "PassedOver", "is_hidden", "is_picture", "reason_to_pass", "suffix_of"]

SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff"),
        *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".avif"),
    }
)
"""Suffixes of picture files, in small letters."""
USUAL = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})
"""Suffixes of which the picture of a sample is, before any other, where several files make a sample."""
HIDDEN = frozenset(
    {
        *("__macosx", "@eadir", "#recycle", "#snapshot", "$recycle.bin", "system volume information", "lost+found"),
        *("__pycache__", "thumbs.db", "ehthumbs.db", "desktop.ini"),
    }
)
"""Names of hidden files and folders that begin with no dot, in small letters: of macOS, file servers, Windows, ext4, Python."""
MAX_REASONS = 6
"""Reasons that a line of the plan names, at most."""


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of this name is no part of the data."""
    return name.startswith(".") or name.lower() in HIDDEN


def suffix_of(name: str) -> str:
    """Return the suffix of a file's name in small letters, with its dot; empty if there is none."""
    stem, dot, suffix = name.rpartition(".")
    return f".{suffix.lower()}" if dot and stem else ""


def is_picture(name: str) -> bool:
    """Return whether a file of this name, without its folders, is a sample."""
    return suffix_of(name) in SUFFIXES and not is_hidden(name)


def reason_to_pass(path: str) -> str:
    """Return why a file is no sample, by its path with `/`; empty if it is one. `.` and `..` in a path hide nothing."""
    parts = path.split("/")
    for number, part in enumerate(parts):
        if part not in (".", "..") and is_hidden(part):
            return "hidden" if number + 1 == len(parts) else "in hidden folders"
    return "" if is_picture(parts[-1]) else f"{suffix_of(parts[-1]) or 'without a suffix'}"


@dataclass
class PassedOver:
    """Count of what is no sample: by reason, with the first example of each.

    Args:
        counts: Number and example by reason.
    """

    counts: dict[str, tuple[int, str]] = field(default_factory=dict)

    def add(self, reason: str, example: str, count: int = 1) -> None:
        """Count files, or folders with all that is in them."""
        number, first = self.counts.get(reason, (0, example))
        self.counts[reason] = number + count, first

    def update(self, other: PassedOver) -> None:
        """Add another count to this one."""
        for reason, (count, example) in other.counts.items():
            self.add(reason, example, count)

    def describe(self) -> str:
        """Return the count in words, the largest first; empty if nothing was passed over.

        >>> passed = PassedOver()
        >>> passed.add(".txt", "cat/readme.txt", 2)
        >>> passed.describe()
        '2 .txt (cat/readme.txt)'
        """
        rows = sorted(self.counts.items(), key=lambda row: (-row[1][0], row[0]))
        words = (f"{count:,} {reason} ({example})" for reason, (count, example) in rows[:MAX_REASONS])
        rest = sum(count for _, (count, _) in rows[MAX_REASONS:])
        return listed(words, MAX_REASONS, rest=rest)

    def dump(self) -> str:
        """Return the count as JSON."""
        return json.dumps(self.counts)

    @staticmethod
    def load(text: str) -> PassedOver:
        """Return the count of `dump`; an empty one for any other text."""
        try:
            return PassedOver({str(reason): (int(count), str(example)) for reason, (count, example) in json.loads(text).items()})
        except (ValueError, TypeError, AttributeError, RecursionError):
            return PassedOver()
