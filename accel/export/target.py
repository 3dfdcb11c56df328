"""The contract of a target: how a model becomes its files, and how these are run."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from numpy.typing import NDArray

from accel.export.quantisation.quantisation import Quantisation
from accel.export.quantisation.variant import EIGHT_BITS, Variant, setting_of
from accel.system.machine import importable

if TYPE_CHECKING:  # the process that runs the files may have no torch
    from torch import nn
    from torch.export import ExportedProgram

    from accel.export.example import Example

__all__ = ["Arrays", "Runner", "Target"]

Arrays = list[NDArray[Any]]
Runner = Callable[[Sequence[NDArray[Any]]], Arrays]
"""Function from the inputs of one call, in order, to its outputs."""


@dataclass
class Target(ABC):
    """An engine that a model is exported to. A subclass has the settings of its build as fields.

    Its module imports the engine inside of `build` and `load` alone, and torch inside of `build`: files are run where there may be
    no torch.
    """

    name: ClassVar[str]
    """The word behind `target=`, and the name of the module."""
    file: ClassVar[str]
    """Name of the main file."""
    about: ClassVar[str]
    """One line about it."""
    extra: ClassVar[str] = ""
    """Extra of the distribution that installs its packages; empty if there are none beside torch."""
    builds_with: ClassVar[tuple[str, ...]] = ()
    """Packages, by the names that are imported, without which nothing is built here."""
    converts_with: ClassVar[tuple[str, ...]] = ()
    """Packages of the engine's interpreter, without which it makes no files."""
    runs_with: ClassVar[tuple[str, ...]] = ()
    """Packages of the engine's interpreter, without which nothing is run."""
    lives_apart: ClassVar[bool] = False
    """Whether its packages do not go with those of accel, so that an environment of its own is advised."""
    distributions: ClassVar[tuple[str, ...]] = ()
    """Distributions whose versions belong on the card."""
    batch: ClassVar[int | None] = None
    """Samples that a call takes; None for any number."""
    tolerance: ClassVar[float] = 1e-4
    """Largest difference of an output from the torch model's that is right, as a share of the largest output."""
    variants: ClassVar[Mapping[Variant, float]] = {}
    """What it can beside float32, each with the largest difference that is right, as `tolerance`. The build looks at `variant`."""
    mixes: ClassVar[bool] = True
    """Whether some layers can stay in floats where others are integers."""
    has_consumer: ClassVar[bool] = False
    """Whether its file is run by onnxruntime, as the generated consumer does."""

    variant: Variant = "float32"
    """The numbers that the files have, or are to have: `load` is given it as well."""
    quantisation: Quantisation | None = None
    """How layers become integers, for a build of 8 bits; None for all else."""

    @abstractmethod
    def build(self, model: nn.Module, example: Example, folder: Path) -> None:
        """Write the files of a model.

        Args:
            model: takes the tensors of the example and returns a tensor or a tuple of tensors; in evaluation mode, on the CPU.
            example: one call of it, with names, and the dimensions that may have another size.
            folder: an empty folder.

        Raises:
            Exception: anything, for a model that cannot be exported.
        """

    @abstractmethod
    def load(self, folder: Path, threads: int) -> Runner:
        """Return what runs the files in a folder.

        Args:
            folder: the folder that `build` wrote to.
            threads: processor threads that one call may use.
        """

    @classmethod
    def cannot_run(cls) -> str:
        """Return why this machine does not run its files, though it can write them, as a sentence; empty if it does."""
        return ""

    @property
    def integers(self) -> Quantisation:
        """How layers become integers, in a build of 8 bits. Raise ValueError in any other."""
        if self.quantisation is None:
            raise ValueError(f"{self.name}: {self.variant} has no layers of integers")
        return self.quantisation

    @classmethod
    def unable(cls, variant: Variant) -> str:
        """Return why it has no files of a variant, as a sentence that says what it can; empty if it has."""
        if variant == "float32" or variant in cls.variants:
            return ""
        can = [name for name in EIGHT_BITS if name in cls.variants]
        floats = ["float32", *(name for name in cls.variants if name not in EIGHT_BITS)]
        integers = f"quantize={' or '.join(can)}" if can else "no 8 bits"
        return f"{setting_of(variant)}: target={cls.name} cannot do that; it can precision={' or '.join(floats)}, and {integers}"

    @classmethod
    def tolerance_of(cls, variant: Variant) -> float:
        """Return the largest difference that is right for a variant, as a share of the largest output."""
        return cls.variants.get(variant, cls.tolerance)

    def graph(self, model: nn.Module, example: Example) -> ExportedProgram | None:
        """Return the graph of a model whose operators have the names that `layers` knows; None if the engine tells of no layer."""
        return None

    def layers(self, folder: Path, names: Sequence[str], inputs: Sequence[NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return the outputs of operators in one call of the files, by name: of those that the engine has left apart.

        Args:
            folder: the files.
            names: of operators of `graph`, in order.
            inputs: of the call.

        Raises:
            Exception: anything that the engine trips over.
        """
        return {}

    @classmethod
    def missing(cls, python: str | None = None) -> str:
        """Return what to install, as a sentence; empty if all is there.

        Args:
            python: the interpreter that has the engine, of which nothing is known here; None for this one.
        """
        here = python in (None, sys.executable) and not cls.cannot_run()
        engine = (*cls.converts_with, *cls.runs_with) if here else ()
        for package in (*cls.builds_with, *engine):
            if not importable(package):
                where = " in an environment of its own, named by python=FILE" if cls.lives_apart else ""
                return f"target={cls.name} needs the package {package}: pip install 'accel-train[{cls.extra}]'{where}"
        return ""
