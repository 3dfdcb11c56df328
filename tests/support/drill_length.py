"""How long the drills are: `make drill` sets ACCEL_DRILL=long."""

from __future__ import annotations

import os

LONG = os.environ.get("ACCEL_DRILL") == "long"


def times(quick: int, long: int) -> int:
    """How often a drill is repeated: a few times in the suite, many times in the long ones."""
    return long if LONG else quick
