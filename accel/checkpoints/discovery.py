"""Search for the checkpoint to go on from: listed, verified, and seen to load, with the reason for each one passed over."""

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
    """Checkpoint that is whole. It takes no memory until its state is asked for."""

    file: Path
    """The .pt file."""
    manifest: Manifest
    skipped: dict[str, str] = field(default_factory=dict)
    """Newer checkpoints by name, and why each was passed over."""

    def state(self) -> dict[str, Any]:
        """Return the state, on the CPU, in memory of its own. Raise Damaged if the file has changed since it was found."""
        state = read(self.file, self.manifest)
        point("resuming.loaded")
        return state


def find(resume: str, out: Path | None) -> FoundCheckpoint | None:
    """Return the newest whole checkpoint of a run directory, or the file named, verified and seen to load.

    Return None if `resume` is `"auto"` and no checkpoint was ever finished in `out`: the run begins. (A checkpoint whose .json is
    missing was being written when the process was killed: the first of a run leaves nothing else behind.)

    Raises:
        ConfigError: if there is none, or none is whole: a run that has checkpoints never begins afresh. Also if one may not be
            read: it may be whole, and going on from an older one would remove it.
    """
    try:
        return _find(resume, out)
    except PermissionError as error:
        raise ConfigError(f"resume={resume}: {error.filename} may not be read ({error.strerror}); let this user read it") from None
    except OSError as error:
        raise ConfigError(f"resume={resume}: {error.filename or resume} cannot be read ({error.strerror or error})") from None


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
            checkpoint = load(folder / f"{name}.pt")
        except Damaged as error:
            skipped[name] = str(error)
        else:
            checkpoint.skipped = skipped
            return checkpoint
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
    """Return what is wrong with a checkpoint; None if it is whole."""
    try:
        verify(file)
    except Damaged as error:
        return str(error)
    return None


def verify(file: Path) -> Manifest:
    """Return the manifest of a checkpoint, if every file is what was written.

    Raises:
        Damaged: if one is not.
        PermissionError: if one may not be read.
    """
    manifest = Manifest.read(file.with_suffix(".json"))
    point("resuming.read")
    for name, facts in manifest.files.items():
        path = file.parent / name
        if path.is_symlink():
            raise Damaged(f"is not whole ({name} is a link, and links are not followed; put the file in its place)")
        if not path.is_file():
            raise Damaged(f"is not whole ({name} is missing)")
        if path.stat().st_size != facts["bytes"]:
            raise Damaged(f"is damaged ({name} has {path.stat().st_size:,} bytes, and {facts['bytes']:,} were written)")
        try:
            with path.open("rb") as stream:
                same = hashlib.file_digest(stream, "sha256").hexdigest() == facts["sha256"]
        except PermissionError:
            raise
        except OSError as error:
            raise Damaged(f"cannot be read ({error.strerror})") from None
        if not same:
            raise Damaged("is damaged (its sha256 differs)")
    point("resuming.verified")
    return manifest


def load(file: Path) -> FoundCheckpoint:
    """Return a checkpoint, verified and then seen to load, without memory for its tensors. Raise Damaged if it is not whole."""
    manifest = verify(file)
    try:
        read(file, manifest, mmap=True)
    except Damaged:
        read(file, manifest)  # the cause may be a disk whose files cannot be mapped into memory
    return FoundCheckpoint(file, manifest)


def read(file: Path, manifest: Manifest, mmap: bool = False) -> dict[str, Any]:
    """Return the state in a file: tensors and plain values. Nothing in it is ever instantiated.

    Args:
        file: the .pt file.
        manifest: its manifest.
        mmap: map the file into memory instead of reading it. A disk that fails later then ends the process, so it is for
            states that are not kept.

    Raises:
        Damaged: if the file holds anything else, or another state.
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
    if not isinstance(state, dict) or state.get("progress") != manifest.progress:
        raise Damaged("is not what its .json says")
    return state
