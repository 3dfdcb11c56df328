"""The .json of a checkpoint: what it is of, and the files it consists of."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field, fields
from math import isfinite
from pathlib import Path, PurePosixPath
from typing import Any

from accel.checkpoints.batch_sizes import BatchSizes
from accel.parts import Progress

__all__ = ["HASH", "LARGEST", "SCHEMA", "SHARDS", "Damaged", "Manifest", "name_of"]

SCHEMA = 2
LARGEST = 1 << 26
"""Bytes; a .json beyond that was written by nobody."""
SHARDS = ".shards"
"""What the name of the folder ends in that holds what several processes wrote, each its own pieces."""
HASH = re.compile(r"[0-9a-f]{64}")


class Damaged(ValueError):
    """A checkpoint that cannot be used. Its text goes on a sentence that begins with the checkpoint's name."""


@dataclass
class Manifest:
    """What is known of a checkpoint without loading it."""

    files: dict[str, dict[str, Any]]
    """Each file by its name, relative to the folder and beginning with the checkpoint's, with `sha256` and `bytes`."""
    progress: dict[str, int]
    """The fields of `Progress`."""
    identity: dict[str, Any]
    """What makes the run the run it is (`accel.checkpoints.identity`)."""
    sizes: dict[str, Any]
    """The fields of `BatchSizes`: how the samples of an update came about."""
    versions: dict[str, str] = field(default_factory=dict)
    """Of what it was computed with: a run that goes on with others may differ in its last bits."""
    metrics: dict[str, float | None] = field(default_factory=dict)
    """Those of the evaluation just before it; empty where there was none. None stands for NaN and infinity."""
    finite: bool = True
    """Whether loss, weights, average and the optimiser's state were looked through and are finite."""

    @property
    def name(self) -> str:
        """`update-00000012-epoch-0001`: in the order of their names, checkpoints are in the order of their making."""
        return name_of(self.progress["step"], self.progress["epoch"])

    def text(self) -> str:
        """The content of the .json, with a seal over all of it."""
        content = {"schema": SCHEMA, **asdict(self)}
        return _dump({**content, "seal": _seal(content)})

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """The record of a checkpoint, from its .json.

        Raises:
            Damaged: where it is not, to the byte, what was written.
            PermissionError: where it may not be read.
        """
        if not path.is_file():
            raise Damaged("was never finished (its .json is missing)")
        if path.stat().st_size > LARGEST:
            raise Damaged("has a damaged .json")
        try:
            text = path.read_text(encoding="utf-8")
            content = json.loads(text)
            schema = content["schema"]
        except PermissionError:
            raise
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise Damaged("has a damaged .json") from error
        if schema != SCHEMA:
            older = type(schema) is int and 0 < schema < SCHEMA
            fix = "begin the run anew" if older else "go on with the accel that wrote it"
            raise Damaged(f"is of another accel (its schema is {str(schema)[:20]}, and {SCHEMA} is read here); {fix}")
        content.pop("schema")
        seal = content.pop("seal", None)
        record = cls(**content) if content.keys() == {one.name for one in fields(cls)} else None
        if record is None or seal != _seal({"schema": SCHEMA, **content}) or text != record.text():
            raise Damaged("has a damaged .json")
        record.check(path.stem)
        return record

    def check(self, name: str) -> None:
        """Raises Damaged for content that accel never writes: a seal proves only that nothing has changed since."""
        try:
            numbers = [self.progress[one.name] for one in fields(Progress)]
            counts = [*numbers, *(file["bytes"] for file in self.files.values())]
            good = len(numbers) == len(self.progress) and all(type(one) is int and 0 <= one < 2**63 for one in counts)
            good = good and all(HASH.fullmatch(file["sha256"]) for file in self.files.values())
            good = good and all(_inside(file, name) for file in self.files) and f"{name}.pt" in self.files
            good = good and all(isinstance(one, dict) for one in (self.identity, self.sizes, self.versions, self.metrics))
            good = good and self.sizes.keys() == {one.name for one in fields(BatchSizes)} and type(self.sizes["ready"]) is bool
            factors = [value for name, value in self.sizes.items() if name != "ready"]
            good = good and all(type(one) is int and 0 < one < 2**31 for one in factors)
            good = good and all(one is None or (type(one) in (int, float) and isfinite(one)) for one in self.metrics.values())
            good = good and type(self.finite) is bool and all(isinstance(one, str) for one in self.versions.values())
        except (KeyError, TypeError, AttributeError):
            good = False
        if not good:
            raise Damaged("has a .json that accel did not write")
        if self.name != name:
            raise Damaged(f"is not what its name says (its .json is of {self.name})")


def name_of(step: int, epoch: int) -> str:
    """The name of the checkpoint after `step` updates and `epoch` whole epochs."""
    return f"update-{step:08d}-epoch-{epoch:04d}"


def _inside(file: str, name: str) -> bool:
    """Whether a file's name stays in the folder, and belongs to the checkpoint `name`."""
    path = PurePosixPath(file)
    plain = str(path) == file and ".." not in path.parts and not {"\\", "\0"} & set(file)
    return plain and path.parts[0].startswith(f"{name}.")


def _dump(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=1)


def _seal(content: dict[str, Any]) -> str:
    return hashlib.sha256(_dump(content).encode()).hexdigest()
