"""Words and overrides in the form in which they are typed: quoted for Hydra's grammar first, then for the shell.

What is printed can be pasted: no word holds a character that a terminal would obey. bash, zsh and POSIX of 2024 read `$'...'`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

from accel.errors import visible

__all__ = ["PLAIN", "WORDS", "command_line", "override", "quote", "setting"]

PLAIN = re.compile(r"[A-Za-z_./][A-Za-z0-9_./-]*")
"""Text that Hydra reads as itself; other signs and numbers have a meaning in its grammar, or none."""
WORDS = {"null", "true", "false", "nan", "inf"}
"""Words that Hydra reads as something else than text."""


def quote(word: str) -> str:
    r"""Return a word as it is typed into a shell: `shlex.quote`, or `$'...'` if a terminal would obey a character or hide it.

    >>> print(quote("it is"), quote("\x1b[2J'"), quote("\udcff"))
    'it is' $'\x1b[2J\'' $'\xff'
    """
    if visible(word) == word:
        return shlex.quote(word)
    return "$'" + "".join(character if visible(character) == character and character not in "'\\" else _escaped(character)
                          for character in word) + "'"  # fmt: skip


def _escaped(character: str) -> str:
    """Return one character as `$'...'` takes it: a backslash before a quote, and the bytes of UTF-8 of any other."""
    if character in "'\\":
        return f"\\{character}"
    errors = "surrogateescape" if "\udc80" <= character <= "\udcff" else "surrogatepass"
    return "".join(f"\\x{byte:02x}" for byte in character.encode(errors=errors))


def command_line(words: Iterable[str]) -> str:
    """Return words as one line that a shell splits into these very words."""
    return " ".join(map(quote, words))


def setting(name: str, text: object) -> str:
    r"""Return the override that sets `name` to this very text, quoted for Hydra's grammar alone.

    >>> print(setting("resume", "runs/one"), setting("resume", "a${b} \\"))
    resume=runs/one resume="a\${b} \\"
    """
    value = str(text)
    if not PLAIN.fullmatch(value) or value.lower() in WORDS:
        value = re.sub(r"(\\*)\$\{", lambda match: 2 * match[1] + r"\${", value)  # which would stand for another setting
        # Hydra reads a backslash as itself unless a quote follows, and a closing one does
        escaped = re.sub(r'(\\*)("|\Z)', lambda match: 2 * match[1] + match[2].replace('"', r"\""), value)
        value = f'"{escaped}"'
    return f"{name}={value}"


def override(name: str, text: object) -> str:
    """Return `name=text` so that, pasted into a shell, it sets `name` to this very text.

    >>> print(override("resume", "runs/one"), override("resume", "it's 1, or 2"))
    resume=runs/one 'resume="it'"'"'s 1, or 2"'
    """
    return quote(setting(name, text))
