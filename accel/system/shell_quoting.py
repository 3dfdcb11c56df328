"""An override as it has to be typed: quoted for Hydra's grammar first, and for the shell then."""

from __future__ import annotations

import re
import shlex

__all__ = ["PLAIN", "WORDS", "override"]

PLAIN = re.compile(r"[A-Za-z_./][A-Za-z0-9_./-]*")
"""What Hydra reads as the text that it is; other signs and numbers have a meaning in its grammar, or none."""
WORDS = {"null", "true", "false", "nan", "inf"}
"""What Hydra reads as something else than text."""


def override(name: str, text: object) -> str:
    """`name=text` so that, pasted into a shell, it sets `name` to this very text.

    >>> print(override("resume", "runs/one"), override("resume", "it's 1, or 2"))
    resume=runs/one 'resume="it'"'"'s 1, or 2"'
    """
    value = str(text)
    if not PLAIN.fullmatch(value) or value.lower() in WORDS:
        # Hydra reads a backslash as itself unless a quote follows, and a closing one does
        escaped = re.sub(r'(\\*)("|$)', lambda found: 2 * found[1] + found[2].replace('"', r"\""), value)
        value = f'"{escaped}"'
    return shlex.quote(f"{name}={value}")
