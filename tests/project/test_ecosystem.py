"""What runs beside other packages has them in the extra `ecosystem`, in its constraints, and in what `make ecosystem` runs."""

from __future__ import annotations

import ast
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ecosystem.packages import ROOT, distribution_of, named_in
from tests.project.test_habits import pins

TESTS = sorted((ROOT / "tests").rglob("*.py"))
FOLDER = ROOT / "tests/ecosystem"
EXTRA = set(named_in("ecosystem"))
ELSEWHERE = set(named_in("dev")) | {*named_in("demo"), *named_in("images")}
"""Packages that `make test` has."""


def asked_for(path: Path) -> Iterator[str]:
    """Yield each module that a file skips without, by importorskip or find_spec."""
    text = path.read_text(encoding="utf-8")
    if not re.search("importorskip|find_spec", text):
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and isinstance(getattr(node.func, "attr", getattr(node.func, "id", None)), str):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            argument = node.args[0] if node.args else None
            if name in ("importorskip", "find_spec") and isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                yield argument.value


def test_every_package_that_a_test_beside_others_needs_is_in_the_extra() -> None:
    needed = {path.name: {distribution_of(name) for name in asked_for(path)} for path in TESTS if FOLDER in path.parents}
    assert {name: names - EXTRA - ELSEWHERE for name, names in needed.items() if names - EXTRA - ELSEWHERE} == {}
    assert any(names & EXTRA for names in needed.values()), "the rule is alive"


def test_every_file_beside_others_can_skip() -> None:
    files = [path for path in FOLDER.rglob("test_*.py") if not re.search(r"importorskip|import_torchvision", path.read_text())]
    assert files == [], "it needs a package of the extra, or belongs elsewhere"


def test_every_test_that_needs_one_is_run_by_make() -> None:
    makefile = (ROOT / "Makefile").read_text()
    (listed,) = re.findall(r"^ECOSYSTEM_TESTS := ((?:.*\\\n)*.*)$", makefile, re.MULTILINE)
    places = [ROOT / word for word in listed.replace("\\\n", " ").split()]
    assert [place for place in places if not place.exists()] == []
    for path in TESTS:
        names = {distribution_of(name) for name in asked_for(path)} & (EXTRA - ELSEWHERE)
        if names and path.name.startswith("test_"):
            assert any(place == path or place in path.parents for place in places), f"{path} needs {names}"


def test_every_package_of_the_extra_is_pinned_once() -> None:
    own, shared = (
        {name.lower().replace("_", "-") for name in pins(file)} for file in ("constraints-ecosystem.txt", "constraints.txt")
    )
    assert EXTRA - own - shared == set()
    assert own & shared == set()


def test_an_environment_of_somebody_elses_is_left_as_it_is(tmp_path: Path) -> None:
    (folder := tmp_path / "venv").mkdir()
    done = subprocess.run(
        ["bash", str(FOLDER / "venv.sh"), str(folder), "constraints.txt"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 2
    assert "has no Python with torch and pytest; name another directory (ECOSYSTEM_VENV), or remove it" in done.stderr
    assert not list(folder.iterdir())


INTERPRETER = """#!/bin/sh
case "$*" in
  "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
  *"import torchvision, "*) ;;
  *"import torchvision"*) echo "RuntimeError: operator torchvision::nms does not exist" >&2; exit 1 ;;
  *sysconfig*) echo "PACKAGES" ;;
esac
"""
"""A Python that installs nothing, beside a torchvision that was built for CUDA."""


def test_the_operators_of_a_torchvision_for_cuda_are_declared(tmp_path: Path) -> None:
    (packages := tmp_path / "packages").mkdir()
    (python := tmp_path / "python").write_text(INTERPRETER.replace("PACKAGES", str(packages)))
    python.chmod(0o755)
    words = ["bash", str(FOLDER / "venv.sh"), str(tmp_path / "venv"), "constraints.txt"]
    done = subprocess.run(words, env={**os.environ, "PYTHON": str(python)}, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert {file.name for file in packages.iterdir()} == {"torchvision_operators.py", "torchvision_operators.pth"}
    assert (tmp_path / "venv/.ecosystem").read_text(), "it is whole"


@pytest.mark.parametrize(
    ("module", "distribution"),
    [
        ("timm.data", "timm"),
        ("hydra_plugins.hydra_joblib_launcher", "hydra-joblib-launcher"),
        ("prefetch_generator", "prefetch-generator"),
    ],
)
def test_the_distribution_of_a_module(module: str, distribution: str) -> None:
    assert distribution_of(module) == distribution
