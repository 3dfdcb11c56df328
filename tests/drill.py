"""How often a drill is repeated: a few times in the suite, many times where ACCEL_DRILL=long asks for it."""

from __future__ import annotations

import os

VARIABLE = "ACCEL_DRILL"


def times(quick: int, long: int) -> int:
    """`quick`, or `long` where the environment says ACCEL_DRILL=long."""
    return long if os.environ.get(VARIABLE) == "long" else quick
