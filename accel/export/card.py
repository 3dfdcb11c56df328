"""The card of an export, `card.json`: what its files take and give, where they came from, and how they were proven."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from accel.errors import ConfigError
from accel.export.all_targets import TARGETS
from accel.export.call.card_check import is_card
from accel.export.quantisation.variant import Variant
from accel.export.tensor_info import TensorInfo
from accel.system import atomic_files
from accel.system.disk_errors import readable

__all__ = ["CARD", "SCHEMA", "Card", "changed_files", "export_folder", "file_facts", "run_of_export"]

CARD = "card.json"
SCHEMA = 1


@dataclass
class Card:
    """Facts about the files of an export."""

    target: str
    file: str
    """Name of the main file."""
    files: dict[str, dict[str, Any]]
    """`sha256` and `bytes` of each file, by its name."""
    inputs: list[TensorInfo]
    outputs: list[TensorInfo]
    arguments: list[Any]
    """How the inputs stand in what the model is given (`accel.export.call.structured_values`)."""
    structure: list[Any]
    """How the outputs stand in what the model returns."""
    batch: int | None
    """Samples that a call takes; null for any number."""
    normalisation: dict[str, list[float]] | None
    """`mean` and `std` of each channel of pictures whose values are from 0 to 1; null where the first input is no such picture."""
    preprocessing: str
    """`graph`: the file takes (n, height, width, channels) uint8, and normalises; `caller`: it takes what the model takes."""
    classes: list[str]
    """Names of the classes, in the order of the scores; empty without classes."""
    weights: str
    """Which weights of the run: `best of epoch-0003`."""
    variant: Variant = "float32"
    """The numbers that the files have."""
    quantisation: dict[str, Any] = field(default_factory=dict)
    """How layers became integers; empty without."""
    versions: dict[str, str] = field(default_factory=dict)
    proof: dict[str, Any] = field(default_factory=dict)
    """What `accel.export.proof.proof.Proof` has."""

    @property
    def tensor_names(self) -> list[str]:
        """Names of the inputs, then of the outputs, in the order of the files."""
        return [info.name for info in (*self.inputs, *self.outputs)]

    def write(self, folder: Path) -> None:
        """Write the card of the files in a folder. Raise OSError if the disk does not take it."""
        content = {"schema": SCHEMA, **asdict(self), "inputs": _dicts(self.inputs), "outputs": _dicts(self.outputs)}
        atomic_files.write(folder / CARD, json.dumps(content, indent=1, allow_nan=False).encode())

    @classmethod
    def read(cls, folder: Path) -> Card:
        """Return the card in a folder.

        Raises:
            ConfigError: if there is none, or it is damaged.
        """
        file = folder / CARD
        with readable(file):
            if not file.is_file():
                raise ConfigError(f"{folder} is no export: it has no {CARD}, which accel export writes")
            text = file.read_bytes()
        try:
            content = json.loads(text)
            schema = content.pop("schema")
            if schema == SCHEMA:
                tensors = {name: [TensorInfo(**one | {"shape": tuple(one["shape"])}) for one in content[name]] for name in TENSORS}
                card = cls(**content | tensors)
                if card.target in TARGETS and is_card(card):
                    return card
                raise ValueError
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, OverflowError):
            raise ConfigError(f"{file} is damaged; export the run again") from None
        raise ConfigError(f"{file} is of another accel (its schema is {schema}, and {SCHEMA} is read here); export the run again")


TENSORS = ("inputs", "outputs")


def _dicts(infos: list[TensorInfo]) -> list[dict[str, Any]]:
    return [info._asdict() for info in infos]


def export_folder(path: Path) -> Path | None:
    """Return the folder of the export that a path names, itself or a file in it; None if it names none."""
    with readable(path):
        return next((folder for folder in (path, path.parent) if (folder / CARD).is_file()), None)


def run_of_export(folder: Path) -> Path:
    """Return the run directory that an export lies in. Raise ConfigError if it was taken out of one."""
    run = folder.resolve().parents[1]
    if not (run / "task.json").is_file():
        raise ConfigError(f"{folder} lies in no run directory, which has the task and its data; leave it in RUN/export")
    return run


def file_facts(folder: Path) -> dict[str, dict[str, Any]]:
    """Return `sha256` and `bytes` of each file of an export, by its name, without its card. Raise OSError for one not readable."""
    return {file.name: atomic_files.checksum(file) for file in sorted(folder.iterdir()) if file.is_file() and file.name != CARD}


def changed_files(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the names of the files that are missing, or not those of a card."""
    with readable(folder):
        now = file_facts(folder)
    return [name for name, facts in files.items() if now.get(name) != facts]
