"""The signature of a plugin or a task: its settings, the part that it provides, and its needs."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from accel.system.machine import Need

__all__ = ["COMPUTED", "REQUIRED", "Setting", "Signature"]

REQUIRED: Any = object()
"""The default of a setting that has none."""
COMPUTED: Any = object()
"""A default that is made anew each time, or that only running the code would tell."""


@dataclass(frozen=True)
class Setting:
    """A setting: its kind (`accel.values`), its default and its description.

    Args:
        name: as it is typed.
        kind: an annotation in the terms of `accel.values`.
        default: its value, `REQUIRED` or `COMPUTED`.
        about: the text in the `Args:` of its class.
    """

    name: str
    kind: Any = Any
    default: Any = REQUIRED
    about: str = ""


@dataclass(frozen=True)
class Signature:
    """The settings, the part and the needs of a class, which `target` names by its dotted name."""

    target: str
    part: str
    """The part that it provides, such as `Optim`; `Trainer` for a task; empty for any other class."""
    doc: str
    settings: dict[str, Setting] = field(default_factory=dict)
    needs: tuple[Need, ...] = ()
    wants: tuple[Need, ...] = ()
    accepts_more: bool = True
    """Whether it takes more keywords and hands them on, as a task does with the settings of the run."""

    @property
    def summary(self) -> str:
        """The first sentence of its documentation, without its name in front."""
        first = " ".join(self.doc.partition("\n\n")[0].split())
        name = self.target.rpartition(".")[2]
        return re.sub(rf"^{re.escape(name)}: ", "", first)
