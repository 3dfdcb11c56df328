"""An override in the form in which it is typed: quoted for Hydra's grammar first, then for the shell."""

from __future__ import annotations

import re
import shlex

__all__ = ["PLAIN", "WORDS", "override"]

PLAIN = re.compile(r"[A-Za-z_./][A-Za-z0-9_./-]*")
"""Text that Hydra reads as itself; other signs and numbers have a meaning in its grammar, or none."""
WORDS = {"null", "true", "false", "nan", "inf"}
"""Words that Hydra reads as something else than text."""


def override(name: str, text: object) -> str:
    """Return `name=text` so that, pasted into a shell, it sets `name` to this very text.

    >>> print(override("resume", "runs/one"), override("resume", "it's 1, or 2"))
    resume=runs/one 'resume="it'"'"'s 1, or 2"'
    """
    value = str(text)
    if not PLAIN.fullmatch(value) or value.lower() in WORDS:
        # Hydra reads a backslash as itself unless a quote follows, and a closing one does
        escaped = re.sub(r'(\\*)("|$)', lambda match: 2 * match[1] + match[2].replace('"', r"\""), value)
        value = f'"{escaped}"'
    return shlex.quote(f"{name}={value}")
