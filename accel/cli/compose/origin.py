"""Origins of the values in a composed config, so that a message can name the word to change."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accel.cli.compose.bundles import CONF

if TYPE_CHECKING:
    from accel.cli.compose.hydra_session import ConfigFile, Session

__all__ = ["Origins"]


class Origins:
    """Finder of the override or the config file that set a key last.

    Args:
        session: reads config files.
        files: the config files of the composition, in the order in which they were merged.
        typed: the overrides as they were typed.
    """

    def __init__(self, session: Session, files: Sequence[ConfigFile], typed: Sequence[str]) -> None:
        self.session, self.files, self.typed = session, files, typed

    def find_override(self, key: str) -> str:
        """Return the override, as typed, that set `key` or something inside it; empty if none did."""
        for text in reversed(self.typed):
            name = text.lstrip("+~").partition("=")[0]
            if name == key or name.startswith(f"{key}."):
                return text
        return ""

    def find_file(self, key: str) -> ConfigFile | None:
        """Return the last config file that set `key`; None if none did."""
        for file in reversed(self.files):
            package = f"{file.package}." if file.package else ""
            if package.startswith(f"{key}."):
                return file
            if key.startswith(package) and _contains(self.session.read_file(file.path), key.removeprefix(package)):
                return file
        return None

    def is_default(self, key: str) -> bool:
        """Return whether accel's own config.yaml set `key`, and nobody since."""
        file = self.find_file(key)
        return not self.find_override(key) and file is not None and Path(self.session.file_path(file.path)) == CONF / "config.yaml"

    def label(self, key: str) -> str:
        """Return the override that set `key`, or the key with its file in front."""
        typed = self.find_override(key)
        file = None if typed else self.find_file(key)
        return typed or (f"{self.session.file_path(file.path)}: {key}" if file else key)

    def file_prefix(self, key: str) -> str:
        """Return `FILE: ` if a file and no override set `key`; empty otherwise."""
        return "" if self.find_override(key) else self.label(key).removesuffix(key)


def _contains(content: Any, dotted: str) -> bool:
    """Return whether nested mappings have a value at a dotted key."""
    for part in dotted.split("."):
        if not isinstance(content, dict) or part not in {str(key) for key in content}:
            return False
        content = next(value for key, value in content.items() if str(key) == part)
    return True
