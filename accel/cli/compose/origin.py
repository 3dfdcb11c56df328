"""Where a value in a composed config came from, so that a message can name the word to change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accel.cli.compose.hydra_session import Entry, Session

__all__ = ["Origins"]


class Origins:
    """Finds the override or the file that said a thing last."""

    def __init__(self, session: Session, entries: Sequence[Entry], typed: Sequence[str]) -> None:
        self.session, self.entries, self.typed = session, entries, typed

    def override(self, key: str) -> str:
        """The override, as typed, that set `key` or something inside it; empty where none did."""
        for text in reversed(self.typed):
            name = text.lstrip("+~").partition("=")[0]
            if name == key or name.startswith(f"{key}."):
                return text
        return ""

    def entry(self, key: str) -> Entry | None:
        """The last config file that set `key`."""
        for entry in reversed(self.entries):
            package = f"{entry.package}." if entry.package else ""
            if package.startswith(f"{key}."):
                return entry
            if key.startswith(package) and _holds(self.session.content(entry.path), key.removeprefix(package)):
                return entry
        return None

    def say(self, key: str) -> str:
        """`key`, as typed where it was typed, with its file where it was not."""
        typed = self.override(key)
        entry = None if typed else self.entry(key)
        return typed or (f"{self.session.file(entry.path)}: {key}" if entry else key)


def _holds(content: Any, dotted: str) -> bool:
    for part in dotted.split("."):
        if not isinstance(content, dict) or part not in {str(key) for key in content}:
            return False
        content = next(value for key, value in content.items() if str(key) == part)
    return True
