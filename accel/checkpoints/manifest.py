"""Manifest of a checkpoint, its .json file: the run that it is of, and the files that it consists of."""

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
from accel.parts.model_shape.model_structure import Structure, is_structure

__all__ = ["HASH", "LARGEST", "RARE", "SCHEMA", "SHARDS", "Damaged", "Manifest", "name_of"]

SCHEMA = 2
LARGEST = 1 << 26
"""Bytes; accel never writes a larger .json."""
SHARDS = ".shards"
"""Suffix of the folder with the shards of several processes."""
RARE = {"before_evaluation", "structure"}
"""Facts that the file leaves out where there is nothing to say."""
HASH = re.compile(r"[0-9a-f]{64}")


class Damaged(ValueError):
    """Error for a checkpoint that cannot be used. Its text continues a sentence that begins with the checkpoint's name."""


@dataclass
class Manifest:
    """Facts about a checkpoint that are known without loading it. The names of the fields are the file format."""

    files: dict[str, dict[str, Any]]
    """`sha256` and `bytes` of each file, by its path in the folder, which begins with the checkpoint's name."""
    progress: dict[str, int]
    """The fields of `Progress`."""
    identity: dict[str, Any]
    """What the run computes (`accel.checkpoints.identity`)."""
    sizes: dict[str, Any]
    """The fields of `BatchSizes`: how the samples of an update came about."""
    versions: dict[str, str] = field(default_factory=dict)
    """Versions of torch, accel, Python and the device: a run that goes on with others may differ in its last bits."""
    metrics: dict[str, float | None] = field(default_factory=dict)
    """Metrics of the evaluation just before it; empty if there was none. None stands for NaN and infinity."""
    finite: bool = True
    """Whether loss, weights, average and the optimiser's state were checked and are finite."""
    before_evaluation: bool = False
    """Whether a signal came in the evaluation after the last update, which is still to be made. The file has it if it is true."""
    structure: Structure = field(default_factory=list)
    """What was done to the modules of the user's model. The file has it if something was."""

    @property
    def name(self) -> str:
        """Name of the checkpoint, such as `update-00000012-epoch-0001`. Sorted by name, checkpoints are sorted by age."""
        return name_of(self.progress["step"], self.progress["epoch"], self.before_evaluation)

    def text(self) -> str:
        """Return the content of the .json, with a seal (sha256) over all of it."""
        content = {"schema": SCHEMA, **asdict(self)}
        content = {name: value for name, value in content.items() if value or name not in RARE}
        return _dump({**content, "seal": _seal(content)})

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Return the manifest in a .json file.

        Raises:
            Damaged: if it is not, to the byte, what was written.
            PermissionError: if it may not be read.
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
        names = {one.name for one in fields(cls)}
        manifest = cls(**content) if names - content.keys() <= RARE and content.keys() <= names else None
        if manifest is None or seal != _seal({"schema": SCHEMA, **content}) or text != manifest.text():
            raise Damaged("has a damaged .json")
        manifest.check(path.stem)
        return manifest

    def check(self, name: str) -> None:
        """Raise Damaged for content that accel never writes: a seal proves only that nothing has changed since."""
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
            good = good and is_structure(self.structure) and type(self.finite) is type(self.before_evaluation) is bool
            good = good and all(isinstance(one, str) for one in self.versions.values())
        except (KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            good = False
        if not good:
            raise Damaged("has a .json that accel did not write")
        if self.name != name:
            raise Damaged(f"is not what its name says (its .json is of {self.name})")


def name_of(step: int, epoch: int, before_evaluation: bool = False) -> str:
    """Return the name of the checkpoint after `step` updates and `epoch` whole epochs.

    One that lacks the evaluation after that update comes before the one that has it, and is no copy of it.
    """
    return f"update-{step:08d}-{'before-evaluation-' * before_evaluation}epoch-{epoch:04d}"


def _inside(file: str, name: str) -> bool:
    """Return whether a file's path stays in the folder and belongs to the checkpoint `name`."""
    path = PurePosixPath(file)
    plain = str(path) == file and ".." not in path.parts and not {"\\", "\0"} & set(file)
    return plain and path.parts[0].startswith(f"{name}.")


def _dump(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=1)


def _seal(content: dict[str, Any]) -> str:
    return hashlib.sha256(_dump(content).encode()).hexdigest()
