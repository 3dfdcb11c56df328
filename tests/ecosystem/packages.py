"""Packages of the extra `ecosystem`: their names, and those that an environment lacks (`python -m tests.ecosystem.packages`)."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).parents[2]
DISTRIBUTIONS = {
    "hydra_plugins.hydra_joblib_launcher": "hydra-joblib-launcher",
    "hydra_plugins.hydra_optuna_sweeper": "hydra-optuna-sweeper",
    "mlflow": "mlflow-skinny",
    "sklearn": "scikit-learn",
    "PIL": "pillow",
}
"""Distributions whose name is not that of their module."""


def named_in(extra: str) -> list[str]:
    """Return the names of the distributions in an extra, in small letters with hyphens."""
    requirements = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"][extra]
    return [re.match(r"[\w.-]+", requirement)[0].lower().replace("_", "-") for requirement in requirements]  # type: ignore[index]


def distribution_of(module: str) -> str:
    """Return the distribution that brings a module."""
    for name, distribution in DISTRIBUTIONS.items():
        if module == name or module.startswith(f"{name}."):
            return distribution
    return module.partition(".")[0].lower().replace("_", "-")


def is_installed(distribution: str) -> bool:
    """Return whether a distribution is installed here."""
    try:
        version(distribution)
    except PackageNotFoundError:
        return False
    return True


if __name__ == "__main__":
    print(", ".join(name for name in named_in("ecosystem") if not is_installed(name)))
