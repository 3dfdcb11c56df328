"""Weights of a run that is there: which file has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from accel.checkpoints.discovery import FoundCheckpoint, find, load
from accel.checkpoints.manifest import Damaged, Manifest
from accel.checkpoints.retention import FOLDER, names
from accel.checkpoints.weights.best_weights import BEST, read_best
from accel.checkpoints.weights.weights_file import read_structure
from accel.errors import ConfigError, nearest
from accel.parts.model_shape.model_structure import Structure
from accel.system.disk_errors import nearest_beside, readable

__all__ = ["SHIPPED", "WEIGHTS", "FoundWeights", "find_weights", "run_directory_of"]

WEIGHTS = "model.safetensors"
"""The weights that were evaluated last, written at the end of a run."""
SHIPPED = "shipped.safetensors"
"""The same of the model without what only training needs, where that is another one: branches merged, masks made zeros."""

PLAN = "plan.json"
"""What every run directory has, from before the first update on."""


@dataclass(frozen=True)
class FoundWeights:
    """The file that has the weights asked for, and the checkpoint of the same moment."""

    file: Path
    """A .safetensors file with evaluated weights, or the .pt file of a checkpoint."""
    which: str
    """`best`, `last`, or the name of the file without its suffix."""
    checkpoint: FoundCheckpoint | None = None
    """The checkpoint of the same moment, verified if the weights are its own; None if there is none any more."""

    @property
    def is_checkpoint(self) -> bool:
        """Whether the weights are to be computed from the state of a checkpoint."""
        return self.file.suffix == ".pt"

    @property
    def structure(self) -> Structure:
        """What was done to the modules of the user's model. Raise ConfigError if the file does not say so rightly."""
        if self.is_checkpoint:
            return self.checkpoint.manifest.structure if self.checkpoint is not None else []
        return read_structure(self.file)

    @property
    def text(self) -> str:
        """The weights in words: which, and of which moment."""
        moment = "" if self.checkpoint is None else self.checkpoint.file.stem
        return " of ".join(dict.fromkeys(filter(None, (self.which, moment))))


def run_directory_of(path: Path) -> Path:
    """Return the run directory that a path names: itself, or the one in which a file or the folder of checkpoints lies."""
    folder = path.parent if path.suffix in (".pt", ".safetensors") and not path.is_dir() else path
    return folder.parent if folder.name == FOLDER else folder


def find_weights(path: Path, which: str | None = None) -> FoundWeights:
    """Return the weights in a run directory, or in the file of weights or the checkpoint named.

    Args:
        path: a run directory, its folder of checkpoints, a .safetensors file, or the .pt file of a checkpoint.
        which: of a run directory: `best`, the best that it keeps; `last`, those evaluated last, or of the newest whole checkpoint,
            whichever came later; or the name of a checkpoint. None: the best if there is one, else the last.

    Raises:
        ConfigError: if there are none, or they may not be read.
    """
    with readable(path):
        return _find(path, which)


def _find(path: Path, which: str | None) -> FoundWeights:
    if not path.exists():
        raise ConfigError(f"{path} does not exist{nearest_beside(path) or '; name a run directory'}")
    run = run_directory_of(path)
    if path.is_file():
        if which is not None:
            raise ConfigError(
                f"weights={which} has no effect: {path} names the weights; name the run directory {run}, or leave it out"
            )
        return _of_file(path, run)
    options = _options(run)
    if not options and (run / PLAN).is_file():
        raise ConfigError(f"{path} holds no weights: its run has not come to a checkpoint; go on with it by resume=auto out={run}")
    if not options:
        raise ConfigError(f"{path} is no run directory: it holds no weights ({WEIGHTS}, {BEST}) and no checkpoints")
    which = which or options[0]
    if which == "best" and which not in options:
        raise ConfigError(f"{run} keeps no best weights; take weights=last, or train with checkpoint.best=METRIC")
    if which not in options:
        hint = nearest(which, options) or f"; there is {', '.join(options)}"
        raise ConfigError(f"weights={which}: {run} has no such weights{hint}")
    if which == "best":
        return FoundWeights(run / BEST, which, _checkpoint(run, read_best(run / BEST).get("checkpoint", "")))
    return _last(run) if which == "last" else _of_file(run / FOLDER / f"{which}.pt", run)


def _options(run: Path) -> list[str]:
    """Return what can be asked for in a run directory, the default first."""
    saved = names(run / FOLDER)
    last = ["last"] if saved or (run / WEIGHTS).is_file() else []
    return [*(["best"] if (run / BEST).is_file() else []), *last, *saved]


def _of_file(file: Path, run: Path) -> FoundWeights:
    if file.suffix == ".safetensors":
        return FoundWeights(file, file.stem, _checkpoint(run, read_best(file).get("checkpoint", "")))
    if file.suffix != ".pt":
        raise ConfigError(f"{file} is no file of weights; name a run directory, a .safetensors file, or a checkpoint's .pt")
    try:
        return FoundWeights(file, file.stem, load(file))
    except Damaged as error:
        raise ConfigError(f"{file}: the checkpoint {error}{_others(run, file.stem)}") from None


def _last(run: Path) -> FoundWeights:
    """Return the weights evaluated last: those at the end of the run, or of a newer checkpoint if the run went on."""
    file, of = run / WEIGHTS, read_best(run / WEIGHTS).get("checkpoint", "")
    saved: Sequence[str] = names(run / FOLDER)
    if file.is_file() and (not saved or of >= saved[-1]):
        return FoundWeights(file, "last", _checkpoint(run, of))
    try:
        checkpoint = find(str(run), run)
    except ConfigError as error:
        if not file.is_file():
            raise ConfigError(str(error).removeprefix(f"resume={run}: ")) from None
        return FoundWeights(file, "last")
    assert checkpoint is not None
    if file.is_file() and of > checkpoint.file.stem:  # the newest is damaged
        return FoundWeights(file, "last")
    return FoundWeights(checkpoint.file, "last", checkpoint)


def _checkpoint(run: Path, name: str) -> FoundCheckpoint | None:
    """Return a checkpoint by its name, not yet verified; None if it is not there, or was never finished."""
    file = run / FOLDER / f"{name}.pt"
    if not name or not file.is_file():
        return None
    try:
        return FoundCheckpoint(file, Manifest.read(file.with_suffix(".json")))
    except (Damaged, PermissionError):
        return None


def _others(run: Path, name: str) -> str:
    """Return a clause with the other checkpoints of a run; empty if there is none."""
    others = [other for other in names(run / FOLDER) if other != name]
    return f"; there is {', '.join(others)}" if others else ""
