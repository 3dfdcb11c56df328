"""Config files by group, found by name: what Hydra would find, in a hundredth of its time."""

from __future__ import annotations

import re
from pathlib import Path

from accel.cli.compose.bundles import CONF
from accel.cli.help_page import Row
from accel.schema import plugin_registry

__all__ = ["ConfigFiles"]


class ConfigFiles:
    """The YAML files that come with accel, with packages of plugins, and in a directory of the user's.

    Args:
        config_dir: the directory of `--config-dir`, whose files go before all others; empty for none.
    """

    def __init__(self, config_dir: str = "") -> None:
        own = [Path(config_dir).expanduser()] if config_dir else []
        self.folders = [*own, *plugin_registry.third_party_folders().values(), CONF]

    def groups(self) -> list[str]:
        """Return the names of the config groups, such as `task`, sorted."""
        folders = [path for folder in self.folders if folder.is_dir() for path in folder.iterdir()]
        return sorted({path.name for path in folders if path.is_dir() and path.name != "hydra" and any(path.glob("*.yaml"))})

    def options(self, group: str) -> list[Row]:
        """Return (name, description) of each file of a group, sorted by name."""
        files = {path.stem: path for folder in reversed(self.folders) for path in folder.glob(f"{group}/*.yaml")}
        return [(name, _description(name, path.read_text(encoding="utf-8"))) for name, path in sorted(files.items())]

    def text(self, group: str, name: str) -> str:
        """Return the text of one file; empty if there is none."""
        files = (folder / group / f"{name}.yaml" for folder in self.folders)
        return next((file.read_text(encoding="utf-8") for file in files if file.is_file()), "")

    def target(self, group: str, name: str) -> str:
        """Return the dotted name of the class that a file names by `_target_`; empty if it names none."""
        match = re.search(r"^_target_:\s*([\w.]+)", self.text(group, name), re.MULTILINE)
        return match[1] if match else ""


def _description(name: str, text: str) -> str:
    """Return the first comment of a config file but its package line, without the name in front."""
    match = re.search(r"^# (?!@package)(.*)", text, re.MULTILINE)
    return re.sub(rf"^{re.escape(name)}: ", "", match[1], flags=re.IGNORECASE) if match else ""
