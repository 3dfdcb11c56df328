"""The environment that venv.sh makes, with pip and a folder of wheels in place of the package index."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[2]
TORCH = "2.14.1"
SKIPPED = 77


def wheel(folder: Path, cuda: str | None) -> None:
    """Write a wheel of a package `torch` that has nothing but its versions."""
    folder.mkdir(parents=True)
    with ZipFile(folder / f"torch-{TORCH}-py3-none-any.whl", "w") as archive:
        archive.writestr("torch/__init__.py", f"__version__ = '{TORCH}'\nclass version:\n    cuda = {cuda!r}\n")
        information = f"torch-{TORCH}.dist-info"
        archive.writestr(f"{information}/METADATA", f"Metadata-Version: 2.1\nName: torch\nVersion: {TORCH}\n")
        archive.writestr(f"{information}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{information}/RECORD", "")


def make(venv: Path, **index: str) -> subprocess.CompletedProcess[str]:
    """Run the script with an index, and nothing of this process's stand-ins."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("LD_", "NULLCUDA", "PIP_", "PYTHON"))}
    command = ["bash", "tests/rehearsal/venv.sh", str(venv), TORCH, "constraints.txt"]
    env = plain | {"PYTHON": sys.executable, "PIP_CONFIG_FILE": os.devnull} | index
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=env)


@pytest.mark.parametrize("kind", ["no index", "a dead index", "no CUDA"])
def test_what_the_index_has_not_is_a_skip_in_one_sentence(kind: str, tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    if kind == "no CUDA":
        wheel(wheels, None)
    index = {"PIP_INDEX_URL": (tmp_path / "missing").as_uri()} if kind == "a dead index" else {"PIP_NO_INDEX": "1"}
    if kind != "a dead index":
        index["PIP_FIND_LINKS"] = str(wheels)
    done = make(tmp_path / "venv", **index)
    assert done.returncode == SKIPPED, done
    why = "without CUDA alone" if kind == "no CUDA" else f"(pip: No matching distribution found for torch=={TORCH})"
    assert done.stdout.startswith("rehearsal skipped: the package index has ")
    assert done.stdout.endswith(f"{why}\n")
    assert done.stdout.count("\n") == 1
    assert not done.stderr
    assert not (tmp_path / "venv").exists()


def test_what_else_cannot_be_installed_is_an_error_and_tried_again(tmp_path: Path) -> None:
    wheel(tmp_path / "wheels", "13.0")
    for _ in range(2):
        done = make(tmp_path / "venv", PIP_NO_INDEX="1", PIP_FIND_LINKS=str(tmp_path / "wheels"))
        assert done.returncode not in (0, SKIPPED)
        assert "ERROR" in done.stderr
        assert (tmp_path / "venv").exists(), "torch need not come again"
