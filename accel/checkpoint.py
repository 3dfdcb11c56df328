"""Checkpoints: whole or not at all."""

from __future__ import annotations

import hashlib
import io
import json
import os
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import torch

from accel.errors import ConfigError
from accel.parts import Progress

if TYPE_CHECKING:
    from accel.build import Built

FOLDER = "checkpoints"
KEEP = 2


class Saver:
    """Saves the run at the end of each epoch, and when it is due; keeps the newest `KEEP`.

    A checkpoint is two files: `NAME.pt`, the state (tensors and plain values, loaded with `weights_only`), and `NAME.json`,
    its sha256 and what it is of. Each is written under another name, flushed to the disk and moved into place, the json last:
    a checkpoint without it, or whose bytes do not match it, is not whole and is never loaded.
    """

    def __init__(self, run: Built, identity: dict[str, Any], every: int | None, minutes: float | None) -> None:
        assert run.out is not None
        self.run, self.identity, self.folder = run, identity, run.out / FOLDER
        self.every, self.seconds, self.since = every, None if minutes is None else 60 * minutes, monotonic()

    def due(self, progress: Progress) -> bool:
        """Whether the last update asks for a checkpoint."""
        if self.every is not None and progress.step % self.every == 0:
            return True
        return self.seconds is not None and monotonic() - self.since > self.seconds

    def save(self, progress: Progress) -> None:
        """Writes the state consumed so far; does nothing where this very state is saved already."""
        name = f"update-{progress.step:08d}-epoch-{progress.epoch:04d}"
        if (self.folder / f"{name}.pt").exists() and damage(self.folder / f"{name}.pt") is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        torch.save(capture(self.run, progress), buffer)
        data = buffer.getbuffer()
        about = {
            "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), "progress": vars(progress),
            "identity": self.identity, "torch": torch.__version__, "schema": 1,
        }  # fmt: skip
        write(self.folder / f"{name}.pt", data)
        write(self.folder / f"{name}.json", json.dumps(about, indent=1).encode())
        for old in sorted(self.folder.glob("*.json"))[:-KEEP]:
            old.unlink()
            old.with_suffix(".pt").unlink(missing_ok=True)
        self.since = monotonic()


class NoSaver(Saver):
    """For a run that writes nothing."""

    def __init__(self) -> None: ...

    def due(self, progress: Progress) -> bool:
        return False

    def save(self, progress: Progress) -> None: ...


def capture(run: Built, progress: Progress) -> dict[str, Any]:
    """Everything a resumed run must find again."""
    rng = {"now": run.random.state(), "began": run.began}
    parts = {part.name: part.state_dict() for part in [*run.parts.all(), *run.watches]}
    bad = {ledger.rule.what: dict(ledger.found) for ledger in run.ledgers()}
    return {
        "model": run.bare.state_dict(), "parts": parts, "rng": rng, "progress": vars(progress), "history": run.history, "bad": bad,
    }  # fmt: skip


def restore(run: Built, state: dict[str, Any]) -> None:
    """Puts a captured state back into a run that was built the same way."""
    run.bare.load_state_dict(state["model"])
    for part in [*run.parts.all(), *run.watches]:
        if part.name in state["parts"]:
            part.load_state_dict(state["parts"][part.name])
    vars(run.progress).update(state["progress"])
    run.history[:] = state["history"]
    for ledger in run.ledgers():
        ledger.found |= state.get("bad", {}).get(ledger.rule.what, {})
    run.began = state["rng"]["began"]
    run.random.restore(state["rng"]["now"])


def find(resume: str, out: Path | None) -> Path:
    """The newest whole checkpoint of a run directory, or the file named, verified.

    Raises ConfigError where there is none, or none is whole: a fresh start is never made in silence.
    """
    if resume == "auto" and out is None:
        raise ConfigError("resume=auto needs the run directory to look in; add out=DIR, or say resume=DIR")
    path = Path(out or ".") if resume == "auto" else Path(resume)
    if not path.exists():
        raise ConfigError(f"resume={resume}: {path} does not exist")
    if path.is_file() and path.suffix != ".pt":
        raise ConfigError(f"resume={resume}: a checkpoint ends in .pt; name one, or a run directory")
    if path.is_file():
        reason = damage(path)
        if reason:
            raise ConfigError(f"resume={resume}: {path.name} {reason}; resume={path.parent.parent} takes the newest whole one")
        return path
    found = sorted((path / FOLDER).glob("*.pt"), reverse=True)
    for file in found:
        if damage(file) is None:
            return file
    if found:
        none = f"none of {len(found)} checkpoints in {path / FOLDER} is whole"
        raise ConfigError(f"resume={resume}: {none}; the newest {damage(found[0])}")
    raise ConfigError(f"resume={resume}: {path} holds no checkpoints")


def damage(file: Path) -> str | None:
    """What is wrong with a checkpoint, or None where it is whole."""
    about = file.with_suffix(".json")
    if not about.exists():
        return "was never finished (its .json is missing)"
    try:
        wanted = json.loads(about.read_text())["sha256"]
    except (ValueError, KeyError, TypeError):
        return "has a damaged .json"
    with file.open("rb") as stream:
        return None if hashlib.file_digest(stream, "sha256").hexdigest() == wanted else "is damaged (its sha256 differs)"


def load(file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The state of a verified checkpoint, on the CPU, and what its .json says. Nothing in it is ever instantiated."""
    return torch.load(file, map_location="cpu", weights_only=True), json.loads(file.with_suffix(".json").read_text())


def write(path: Path, data: bytes | memoryview) -> None:
    """Writes `data` so that `path` is, at any instant, what it was or what it shall be."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
