"""Pages that the system moves to and from its swap."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["VMSTAT", "page_swaps"]

VMSTAT = Path("/proc/vmstat")


def page_swaps() -> int:
    """Return the pages moved to and from the swap since the system began; 0 if it does not tell."""
    try:
        counts = re.findall(r"^pswp(?:in|out) (\d+)$", VMSTAT.read_text(), re.MULTILINE)
    except OSError:
        return 0
    return sum(map(int, counts))
