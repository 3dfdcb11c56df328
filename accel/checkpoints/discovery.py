"""Which checkpoint a run goes on from: listed, verified, and seen to load, with the reason for each that was passed over."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import torch

from accel.checkpoints.manifest import Damaged, Manifest
from accel.checkpoints.retention import FOLDER, finished, names
from accel.errors import ConfigError, nearest
from accel.system.faults import point

__all__ = ["AUTO", "FoundCheckpoint", "damage", "find", "load", "read", "verify"]

AUTO = "auto"


@dataclass
class FoundCheckpoint:
    """A whole checkpoint. It takes no memory until its state is asked for."""

    file: Path
    """Its .pt."""
    manifest: Manifest
    skipped: dict[str, str] = field(default_factory=dict)
    """Newer ones by name, and why each was passed over."""

    def state(self) -> dict[str, Any]:
        """What it holds, on the CPU, in memory of its own. Raises Damaged where that has changed since it was found."""
        state = read(self.file, self.manifest)
        point("resuming.loaded")
        return state


def find(resume: str, out: Path | None) -> FoundCheckpoint | None:
    """The newest whole checkpoint of a run directory, or the file named, verified and seen to load.

    None where `resume` is `"auto"` and no checkpoint was ever finished in `out`: the run begins. (One whose .json is missing was
    being written when the process was killed: the first of a run leaves nothing else behind.)

    Raises:
        ConfigError: where there is none, or none is whole: a run that has checkpoints never begins afresh. Also where one may not
            be read: nobody knows whether that is whole, and going on from an older one would take it away.
    """
    try:
        return _find(resume, out)
    except PermissionError as error:
        raise ConfigError(f"resume={resume}: {error.filename} may not be read ({error.strerror}); let this user read it") from None


def _find(resume: str, out: Path | None) -> FoundCheckpoint | None:
    if resume == AUTO and out is None:
        raise ConfigError("resume=auto needs the run directory to look in; add out=DIR, or say resume=DIR")
    path = Path(out or ".") if resume == AUTO else Path(resume)
    if not resume:
        raise ConfigError("resume=: nothing is named; write resume=auto, or name a run directory")
    if resume != AUTO and not path.exists():
        raise ConfigError(f"resume={resume}: {path} does not exist{nearest(resume, [AUTO])}")
    if resume == AUTO and path.is_file():
        raise ConfigError(f"out={path} is a file; name a directory")
    if path.is_file():
        return _named(path, resume)
    if resume != AUTO and path.name == FOLDER and names(path):
        path = path.parent
    folder = path / FOLDER
    skipped: dict[str, str] = {}
    for name in reversed(names(folder)):
        point("resuming.listed")
        try:
            found = load(folder / f"{name}.pt")
        except Damaged as error:
            skipped[name] = str(error)
        else:
            found.skipped = skipped
            return found
    if resume == AUTO and not finished(folder):
        return None
    if skipped:
        newest, reason = next(iter(skipped.items()))
        none = f"none of {len(skipped)} checkpoints in {folder} is whole" if len(skipped) > 1 else f"{folder} has one checkpoint"
        raise ConfigError(f"resume={resume}: {none}; {newest} {reason}")
    raise ConfigError(f"resume={resume}: {path} holds no checkpoints")


def _named(path: Path, resume: str) -> FoundCheckpoint:
    if path.suffix != ".pt":
        beside = path.with_suffix(".pt")
        fix = f"name {beside}, which is beside it" if beside.is_file() else "name one, or a run directory"
        raise ConfigError(f"resume={resume}: a checkpoint ends in .pt; {fix}")
    try:
        return load(path)
    except Damaged as error:
        raise ConfigError(f"resume={resume}: {path.name} {error}; resume={path.parent.parent} takes the newest whole one") from None


def damage(file: Path) -> str | None:
    """What is wrong with a checkpoint, or None where it is whole."""
    try:
        verify(file)
    except Damaged as error:
        return str(error)
    return None


def verify(file: Path) -> Manifest:
    """The record of a checkpoint whose every file is what was written. Raises Damaged, and PermissionError."""
    record = Manifest.read(file.with_suffix(".json"))
    point("resuming.read")
    for name, wanted in record.files.items():
        path = file.parent / name
        if path.is_symlink():
            raise Damaged(f"is not whole ({name} is a link, and links are not followed; put the file in its place)")
        if not path.is_file():
            raise Damaged(f"is not whole ({name} is missing)")
        if path.stat().st_size != wanted["bytes"]:
            raise Damaged(f"is damaged ({name} has {path.stat().st_size:,} bytes, and {wanted['bytes']:,} were written)")
        try:
            with path.open("rb") as stream:
                same = hashlib.file_digest(stream, "sha256").hexdigest() == wanted["sha256"]
        except PermissionError:
            raise
        except OSError as error:
            raise Damaged(f"cannot be read ({error.strerror})") from None
        if not same:
            raise Damaged("is damaged (its sha256 differs)")
    point("resuming.verified")
    return record


def load(file: Path) -> FoundCheckpoint:
    """A checkpoint, verified and then seen to load, without memory for its tensors. Raises Damaged."""
    record = verify(file)
    try:
        read(file, record, mmap=True)
    except Damaged:
        read(file, record)  # a disk whose files cannot be mapped into memory may have said so
    return FoundCheckpoint(file, record)


def read(file: Path, record: Manifest, mmap: bool = False) -> dict[str, Any]:
    """The state in a file. Nothing in it is ever instantiated: tensors and plain values, or Damaged.

    With `mmap` its tensors are the file, and are read when they are looked at: for what is not kept, because a disk that fails then
    ends the process.
    """
    try:
        with ZipFile(file) as archive:
            if sum(one.file_size for one in archive.infolist()) > file.stat().st_size:  # torch packs nothing
                raise Damaged("says that it is larger than it is, and nothing of it was loaded")
        state = torch.load(file, map_location="cpu", weights_only=True, mmap=mmap)
    except Damaged:
        raise
    except Exception as error:  # whatever the unpickler trips over
        raise Damaged("holds something else than tensors and plain values, and nothing of it was loaded") from error
    if not isinstance(state, dict) or state.get("progress") != record.progress:
        raise Damaged("is not what its .json says")
    return state
