"""How long OpenMP's threads spin at a barrier before they sleep: short, unless the user has set it.

torch's threads meet several times in each operation. By default each then spins for a while, since waking up takes longer. Where
other programs need the cores, the spinning takes them from those that are waited for. The libraries read their variables once,
when torch is imported.
Source: libgomp's manual, GOMP_SPINCOUNT; LLVM's, KMP_BLOCKTIME.
"""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping

__all__ = ["SHORT_SPIN", "USER_VARIABLES", "describe_spin", "has_short_spin", "shorten_spin"]

SHORT_SPIN = {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "1"}
"""Turns of GNU's loop (300,000 by default), and milliseconds of LLVM's and Intel's (200 by default)."""
USER_VARIABLES = ("OMP_WAIT_POLICY", *SHORT_SPIN)
"""Variables of the user's that settle it: while one of them is set, none is touched."""


def shorten_spin(environ: MutableMapping[str, str] = os.environ, loaded: bool | None = None) -> bool:
    """Set the variables for a short spin where the user has set none and torch is not yet imported; return whether they were set.

    Children of this process have them too.

    Args:
        environ: the environment.
        loaded: whether torch has been imported; None looks.
    """
    late = "torch" in sys.modules if loaded is None else loaded
    if late or any(name in environ for name in USER_VARIABLES):
        return False
    environ.update(SHORT_SPIN)
    return True


def describe_spin(environ: MutableMapping[str, str] = os.environ) -> str:
    """Return in words for the plan how long threads spin."""
    values = {name: environ[name] for name in USER_VARIABLES if name in environ}
    if not values:
        return "as OpenMP has it: torch was imported before accel"
    return "short" if values == SHORT_SPIN else ", ".join(f"{name}={value}" for name, value in values.items())


def has_short_spin(environ: MutableMapping[str, str] = os.environ) -> bool:
    """Return whether threads that wait sleep soon, because it was set here or by the user."""
    policy, spin = environ.get("OMP_WAIT_POLICY", "").upper(), environ.get("GOMP_SPINCOUNT", "")
    return policy == "PASSIVE" or (spin.isdigit() and int(spin) <= int(SHORT_SPIN["GOMP_SPINCOUNT"]))
