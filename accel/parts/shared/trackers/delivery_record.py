"""Record of what a tracker was handed: kept beside its journal, so that a resumed run neither doubles nor leaves out a point."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from accel.system import atomic_files

__all__ = ["DeliveryRecord"]


@dataclass(frozen=True)
class DeliveryRecord:
    """How far a journal was handed over, in bytes, and to which run of the tracker."""

    run: str = ""
    """The key of the tracker's run, 8 hexadecimal digits; empty if there is none yet."""
    handed: int = 0
    """As far as points may have been handed over: written before they are."""
    received: int = 0
    """As far as the tracker has said that it has them."""
    left: str = ""
    """A run of the tracker that this one has left, because it has points that were withdrawn; empty if it has left none."""
    schema: int = 1

    @classmethod
    def read(cls, path: Path) -> DeliveryRecord:
        """Return the record in a file; one of nothing if there is no file, or it is damaged."""
        try:
            content = json.loads(path.read_bytes())
            record = cls(**content)
            kinds = {"run": str, "handed": int, "received": int, "left": str, "schema": int}
            if all(type(content.get(name)) is kind for name, kind in kinds.items()) and 0 <= record.received <= record.handed:
                return record
        except (OSError, ValueError, TypeError, AttributeError):
            pass
        return cls()

    def write(self, path: Path) -> None:
        """Write the record. Raise OSError if the disk refuses it."""
        atomic_files.write(path, json.dumps(asdict(self), indent=1).encode())

    def resumed(self, length: int) -> DeliveryRecord:
        """Return the record of a run that goes on with so many bytes of the journal.

        A tracker cannot forget. If it may have points beyond them, another run of the tracker is begun, with all that is there.
        """
        return DeliveryRecord(left=self.run) if self.handed > length else self
