"""What came of the export to one target."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from accel.export.proof.proof import Proof
from accel.export.quantisation.variant import Variant

__all__ = ["ExportOutcome", "Status"]

Status = Literal["holds", "refused", "failed", "not run"]


@dataclass(frozen=True)
class ExportOutcome:
    """What came of the export to one target, or of the check of one that is there."""

    target: str
    status: Status
    """`holds`: proven and written. `refused`: it computes something else, and is not written. `failed`: it could not be made or
    run. `not run`: a package is not installed, or this machine does not run it. With a folder, its files were written all the
    same."""
    reason: str = ""
    """A sentence; empty if it holds."""
    proof: Proof | None = None
    folder: Path | None = None
    """Where its files are; None if none were written."""
    variant: Variant = "float32"
    """The numbers that the files have."""
    quantisation: dict[str, Any] = field(default_factory=dict)
    """How layers became integers, as the card has it; empty without."""

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        proof = None if self.proof is None else self.proof.as_dict()
        named = {"target": self.target, "variant": self.variant, "status": self.status, "reason": self.reason, "proof": proof}
        return named | ({"quantisation": self.quantisation} if self.quantisation else {})
