"""How long the drills are: `make drill` sets ACCEL_DRILL=long."""

from __future__ import annotations

import os

LONG = os.environ.get("ACCEL_DRILL") == "long"
