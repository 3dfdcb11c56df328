"""Class folders on this machine: their pictures, listed once, each real folder once, without asking for the facts of a file."""

from __future__ import annotations

import os
from os import DirEntry

from accel.data.picture_names import SUFFIXES, PassedOver, is_hidden, is_picture, suffix_of
from accel.errors import ConfigError

__all__ = ["CIRCLE", "DANGLING", "LOOSE", "TWICE", "FolderWalk", "scan_folder"]

CIRCLE = "linked in a circle"
TWICE = "linked to a folder that its class has already"
LOOSE = "in no class folder"
DANGLING = "linked to nothing"


def scan_folder(path: str) -> list[DirEntry[str]]:
    """Return the entries of a folder, in the order of their names.

    Raises:
        ConfigError: If it cannot be read.
    """
    try:
        with os.scandir(path) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise ConfigError(f"cannot read the folder {path}: {error.strerror}; give it back its rights, or take it away") from None


class FolderWalk:
    """Walk through the class folders of a split. Links are followed; a link into a circle is cut.

    Args:
        root: Folder that holds the class folders.
    """

    def __init__(self, root: str) -> None:
        self.root, self.passed_over = root, PassedOver()
        self.above: set[object] = set()
        """The root and the folders above it: a link to one of them is a circle."""
        self.classes: dict[object, list[str]] = {}
        """Names of the classes by folder."""
        above = os.path.abspath(root)
        while above not in ("", os.path.dirname(above)):
            self.above.add(_identity(above))
            above = os.path.dirname(above)

    def count_loose(self) -> None:
        """Count what lies beside the class folders."""
        for entry in scan_folder(self.root):
            if is_hidden(entry.name):
                self.passed_over.add("hidden", entry.name)
            elif not _is_folder(entry):
                dangling = entry.is_symlink() and not os.path.exists(entry.path)
                self.passed_over.add(DANGLING if dangling else LOOSE, entry.name)

    def pictures(self, name: str) -> list[str]:
        """Return the paths of the pictures of one class, from the root on, sorted: an index means the same on every machine.

        Of a folder that a class reaches in several ways, the way without links is taken, or else the first by name.

        Args:
            name: Name of the class folder; empty for the root itself.
        """
        seen = set(self.above) if name else set()
        pictures: list[str] = []
        folders: list[str] = [name]
        links: list[str] = []
        while folders or links:
            if folders:
                place = folders.pop()
            else:
                links.sort(reverse=True)
                place = links.pop()
            identity = _identity(os.path.join(self.root, place))
            if identity in seen:
                self.passed_over.add(CIRCLE if identity in self.above else TWICE, place)
                continue
            if place == name:
                self.classes.setdefault(identity, []).append(name)
            seen.add(identity)
            self._scan(place, pictures, folders, links)
        return sorted(pictures)

    def _scan(self, place: str, pictures: list[str], folders: list[str], links: list[str]) -> None:
        """Add the pictures of one folder, the folders in it, and the links to folders."""
        prefix = f"{place}/" if place else ""
        for entry in scan_folder(os.path.join(self.root, place)):
            name, path = entry.name, prefix + entry.name
            if entry.is_file(follow_symlinks=False) and suffix_of(name) in SUFFIXES and not is_hidden(name):
                pictures.append(path)  # nearly all entries, and none of them is asked for more
            elif is_hidden(name):
                self.passed_over.add("hidden", path)
            elif entry.is_dir(follow_symlinks=False):
                folders.append(path)
            elif entry.is_symlink() and _is_folder(entry):
                if _leads_up(entry.path):
                    self.passed_over.add(CIRCLE, path)
                else:
                    links.append(path)
            elif is_picture(name):  # also a link to nothing, or a pipe: it is a bad sample, when it is read
                pictures.append(path)
            else:
                self.passed_over.add(suffix_of(name) or "without a suffix", path)


def _identity(path: str) -> object:
    """Return what tells a folder from others, by whatever path it is reached."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise ConfigError(f"cannot read the folder {path}: {error.strerror}; give it back its rights, or take it away") from None
    return (status.st_dev, status.st_ino) if status.st_ino else os.path.realpath(path)  # some network disks number none


def _is_folder(entry: DirEntry[str]) -> bool:
    """Return whether an entry is a folder or leads to one."""
    try:
        return entry.is_dir()
    except OSError:  # links in a circle
        return False


def _leads_up(link: str) -> bool:
    """Return whether a link leads to a folder that it lies in, at any depth."""
    target, place = os.path.realpath(link), os.path.realpath(os.path.dirname(link))
    return place == target or place.startswith(target.rstrip(os.sep) + os.sep)
