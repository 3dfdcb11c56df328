"""Links in a tar, followed as far as they lead to members of it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

from accel.data.class_folders import CIRCLE, DANGLING
from accel.data.picture_names import PassedOver, suffix_of
from accel.data.shards.tar_headers import Entry

__all__ = ["LINKS", "MAX_LINKS", "PROBLEMS", "REPLACED", "Member", "resolve", "tar_path"]

LINKS = ("link", "hard link")
MAX_LINKS = 40
"""Links that are followed from one to the next, as Linux follows them."""
PROBLEMS = {
    -1: "its tar has a link in its place, to a file that is not in the tar; make the tar with the files themselves: tar -h",
    -2: "its tar has links in its place that lead in a circle; make the tar anew",
    -3: "its tar has a device or a pipe in its place, and no file; make the tar anew",
    -4: "its tar has it as a sparse file; make the tar without --sparse",
}
"""Offsets of members that cannot be read, and why."""
REPLACED = "replaced by later members of their names"


class Member(NamedTuple):
    """File in a tar that may be a part of a sample.

    Args:
        name: Path in the tar.
        offset: Offset of its content in the tar, in bytes; one of `PROBLEMS` if it has none.
        size: Bytes of its content.
        archive: Number of the archive in the file.
    """

    name: str
    offset: int
    size: int
    archive: int = 0


def resolve(entries: Sequence[Entry], passed_over: PassedOver, keep_all: bool) -> list[Member]:
    """Return the files of a tar, each link as the file that it leads to.

    A link to a folder of the tar stands for the files in that folder. Of several members of one name the last one counts.

    Args:
        entries: Members of the tar, in order.
        passed_over: Receives links that lead to no file, and members that were replaced.
        keep_all: Whether members of one name are all returned, for a caller that refuses them.
    """
    numbered: dict[int, list[tuple[int, Entry]]] = {}
    for number, entry in enumerate(entries):
        numbered.setdefault(entry.archive, []).append((number, entry))
    members: list[Member] = []
    for archive in numbered.values():
        tree = Tree(archive)
        for number, entry in archive:
            if entry.kind == "folder":
                continue
            if not keep_all and tree.places[tar_path(entry.name)][-1] != number:
                passed_over.add(REPLACED, entry.name)
            elif entry.kind in LINKS:
                members += _linked(tree, number, entry.name, passed_over, set())
            else:
                members.append(_member(entry.name, entry, entry.archive))
    return members


class Tree:
    """Members of one archive by path.

    Args:
        numbered: Number and entry of each member, in order.
    """

    def __init__(self, numbered: Sequence[tuple[int, Entry]]) -> None:
        self.entries = dict(numbered)
        self.places: dict[str, list[int]] = {}
        """Numbers of the members of each path."""
        for number, entry in numbered:
            self.places.setdefault(tar_path(entry.name), []).append(number)
        self.has_links = any(entry.kind in LINKS for _, entry in numbered)
        self.paths = sorted(self.places) if self.has_links else []

    def follow(self, number: int) -> tuple[Entry | None, str, bool]:
        """Return the file that link `number` leads to, or else the path, and whether it is a circle."""
        entry = self.entries[number]
        path = _target(entry)
        for _ in range(MAX_LINKS):
            places = self.places.get(path)
            if places is None:
                through = self._through_folder_link(path)
                if through == path:
                    return None, path, False
                path = through
                continue
            if entry.kind == "hard link":  # to what stood there when the link was made
                before = [place for place in places if place < number]
                number = before[-1] if before else places[0]
            else:
                number = places[-1]
            entry = self.entries[number]
            if entry.kind not in LINKS:
                return (None, path, False) if entry.kind == "folder" else (entry, path, False)
            path = _target(entry)
        return None, path, True

    def _through_folder_link(self, path: str) -> str:
        """Return a path with the first link to a folder in it replaced by the folder."""
        parts = path.split("/")
        for count in range(1, len(parts)):
            places = self.places.get("/".join(parts[:count]))
            if places and self.entries[places[-1]].kind == "link":
                return tar_path(f"{_target(self.entries[places[-1]])}/{'/'.join(parts[count:])}")
        return path

    def files_in(self, folder: str) -> list[tuple[str, int]]:
        """Return path from the folder on and number of everything in a folder."""
        start = f"{folder}/"
        first, last = bisect_left(self.paths, start), bisect_left(self.paths, f"{folder}0")  # 0 follows the slash
        return [(path[len(start) :], self.places[path][-1]) for path in self.paths[first:last]]


def _linked(tree: Tree, number: int, name: str, passed_over: PassedOver, seen: set[str]) -> list[Member]:
    """Return the files that a link stands for.

    Args:
        tree: Members of its archive.
        number: Number of the link.
        name: Path by which it is reached.
        passed_over: Receives links that stand for nothing.
        seen: Folders that are linked to on the way to it.
    """
    archive = tree.entries[number].archive
    target, path, circle = tree.follow(number)
    if target is not None:
        return [_member(name, target, archive)]
    inside = [] if circle else tree.files_in(path)
    if not inside:
        if suffix_of(name):  # it may be a sample, or a part of one
            return [Member(name, -2 if circle else -1, 0, archive)]
        passed_over.add(CIRCLE if circle else DANGLING, name)
        return []
    if path in seen or f"{tar_path(tree.entries[number].name)}/".startswith(f"{path}/"):
        passed_over.add(CIRCLE, name)
        return []
    seen.add(path)
    members = []
    for rest, other in inside:
        entry, inner = tree.entries[other], f"{name.rstrip('/')}/{rest}"
        if entry.kind in LINKS:
            members += _linked(tree, other, inner, passed_over, seen)
        elif entry.kind != "folder":
            members.append(_member(inner, entry, archive))
    return members


def _member(name: str, entry: Entry, archive: int) -> Member:
    """Return the file of an entry by a name."""
    if entry.kind == "file":
        return Member(name, entry.offset, entry.size, archive)
    return Member(name, -4 if entry.kind == "sparse file" else -3, 0, archive)


def _target(entry: Entry) -> str:
    """Return the path in the tar that a link leads to. An absolute one is taken from the tar's root, as that of a member is."""
    if entry.kind == "hard link" or entry.target.startswith("/"):
        return tar_path(entry.target)
    return tar_path(f"{entry.name.rpartition('/')[0]}/{entry.target}")


def tar_path(name: str) -> str:
    """Return a path in a tar without `.`, `..` and outer slashes: how tar unpacks it.

    >>> tar_path("/data/./cat/../dog/1.jpg")
    'data/dog/1.jpg'
    """
    if not name.startswith(("/", ".")) and "/." not in name and "//" not in name and not name.endswith("/"):
        return name
    parts: list[str] = []
    for part in name.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)
