"""Files that only other tools read say what the project says: versions, Pythons, hooks, templates."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import accel

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
FORMS = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("[!c]*.yml"))


def pins(name: str) -> dict[str, str]:
    """Return the version of each package in a file of constraints."""
    return dict(re.findall(r"^([\w.-]+)==([\w.]+)$", (ROOT / name).read_text(), re.MULTILINE))


def test_ci_runs_every_python_from_the_oldest_that_is_claimed() -> None:
    versions = WORKFLOW["suite"]["strategy"]["matrix"]["python"]
    assert f">={versions[0]}" == PROJECT["requires-python"]
    assert versions == [f"3.{minor}" for minor in range(11, 11 + len(versions))]
    assert WORKFLOW["suite"]["steps"][-1]["run"] == "bash .ci/run"
    assert WORKFLOW["oldest"]["steps"][-1]["run"] == "make test CONSTRAINTS=constraints-oldest.txt"


@pytest.mark.parametrize("extra", ["", "demo", "images", "dev", "remote", "tensorboard", "lmdb", "simplejpeg", "opencv"])
def test_the_oldest_constraints_are_the_versions_that_are_claimed(extra: str) -> None:
    oldest = pins("constraints-oldest.txt")
    tools = {"mypy", "ruff", "build", "hatchling"}  # what is run with them is not what is claimed
    for requirement in PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]:
        name, version = re.match(r"([\w.-]+)>=([\w.]+)", requirement).groups()  # type: ignore[union-attr]
        if name not in tools:
            assert f"{oldest[name]}.".startswith(f"{version}."), f"{requirement}, and constraints-oldest.txt has {oldest[name]}"


def test_hooks_and_constraints_have_one_ruff() -> None:
    hooks = {
        one["repo"].rpartition("/")[2]: one["rev"]
        for one in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    }
    assert hooks["ruff-pre-commit"] == f"v{pins('constraints.txt')['ruff']}"
    assert "codespell" in hooks


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_each_issue_form_can_be_shown(path: Path) -> None:
    form: dict[str, Any] = yaml.safe_load(path.read_text())
    assert {"name", "description", "body"} <= set(form)
    ids = [item["id"] for item in form["body"]]
    assert len(set(ids)) == len(ids)
    for item in form["body"]:
        assert item["type"] in ("textarea", "input", "dropdown", "checkboxes")
        assert item["attributes"]["label"]


def test_a_citation_names_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == accel.__version__
    assert citation["license"] == PROJECT["license"]


def test_the_dev_container_is_set_up_by_a_target_of_the_makefile() -> None:
    container = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
    command, target = container["postCreateCommand"].split()
    assert command == "make"
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert container["image"].endswith(PROJECT["requires-python"].removeprefix(">="))


def test_every_test_with_a_long_form_is_one_of_the_drills() -> None:
    (command,) = re.findall(r"^\tACCEL_DRILL=long .*$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    places = [ROOT / word for word in command.partition("--deselect")[0].split() if word.startswith("tests/")]
    needs = re.compile("^from tests.support.drill_length", re.MULTILINE)
    long = [path for path in (ROOT / "tests").rglob("test_*.py") if needs.search(path.read_text())]
    assert long
    for path in long:
        assert any(place == path or place in path.parents for place in places), f"{path} is in no drill of the Makefile"


def test_commits_that_blame_skips_are_named_in_full() -> None:
    lines = [line for line in (ROOT / ".git-blame-ignore-revs").read_text().splitlines() if line and not line.startswith("#")]
    assert lines
    assert [line for line in lines if not re.fullmatch("[0-9a-f]{40}", line)] == []
