"""The console scripts of pyproject.toml, as pip writes them, for a checkout that is not installed."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def install_scripts(folder: Path) -> Path:
    """Write the console scripts into `folder`, and return it."""
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    folder.mkdir(parents=True, exist_ok=True)
    for name, target in scripts.items():
        module, function = target.split(":")
        file = folder / name
        file.write_text(f"#!{sys.executable}\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n")
        file.chmod(0o755)
    return folder
