"""Programs of docs/guides/coming-from: those without another package give the same losses, and are as long as the pages say."""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

import accel
from accel.cli.new.new_command import make_project
from accel.cli.new.project_files import project_files
from accel.system import machine
from tests.support.coming_from import ENDLESS, PROGRAMS, Printed, run, run_killed
from tests.support.program_lines import lines_in_both, lines_of_program
from tests.support.rank_processes import ROOT

pytest.importorskip("sklearn", reason="the examples need the extra demo")

PAGES = {"plain_loop": "plain-loop", "lightning": "lightning", "accelerate": "accelerate", "hf_trainer": "hf-trainer"}
"""The page of each pair of programs, by the name of the pair."""
GUIDES = ROOT / "docs/guides/coming-from"
SHORT = {**ENDLESS, "epochs=3": "epochs=1", 'epochs, window = "cpu", 3, 4': 'epochs, window = "cpu", 1, 4'}
"""One epoch, with a limit on the gradient that none reaches."""


def read_section(page: str, heading: str) -> str:
    """Return the text below a heading of a page, up to the next one of its kind."""
    return (GUIDES / page).read_text(encoding="utf-8").partition(f"{heading}\n")[2].partition("\n## ")[0]


def path_of(pair: str, side: str) -> Path:
    """Return the program of a pair before or after: a file, or the folder of a project."""
    folder = PROGRAMS / f"{pair}_{side}"
    return folder if folder.is_dir() else folder.with_suffix(".py")


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory: pytest.TempPathFactory) -> Printed:
    """What the plain loop prints in one epoch."""
    return run("plain_loop_before", tmp_path_factory.mktemp("by_hand"), SHORT)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plain_loop_after", "accelerate_after"])
def test_the_losses_are_those_of_the_plain_loop(name: str, by_hand: Printed, tmp_path: Path) -> None:
    assert run(name, tmp_path, SHORT) == by_hand
    assert len(by_hand.losses) == 22


@pytest.mark.slow
def test_a_limit_that_acts_changes_last_bits(by_hand: Printed, tmp_path: Path) -> None:
    whole = [run(f"plain_loop_{side}", tmp_path / side) for side in ("before", "after")]
    same = [number for number in whole[0].losses if whole[0].losses[number] == whole[1].losses[number]]
    assert same[:20] == list(range(1, 21)), "equal until the limit acts"
    assert max(whole[0].differences(whole[1]).values()) < 0.02
    assert len(whole[0].losses) == len(whole[1].losses) == 66


@pytest.mark.slow
def test_a_killed_program_goes_on_to_the_same_losses(tmp_path: Path) -> None:
    within_epoch = {"epochs=3": "epochs=2, checkpoint_every=10"}
    whole = run("lightning_after", tmp_path / "whole", within_epoch)
    saved = "runs/digits/checkpoints"
    killed = run_killed("lightning_after", tmp_path / "killed", 35, lambda: len(list(Path(saved).glob("*.json"))) > 1, within_epoch)
    rest = run("lightning_after", tmp_path / "killed", within_epoch)
    assert killed.losses.keys() == set(range(1, 36))
    assert 22 < min(rest.losses) < 36, "it goes on within the second epoch"
    assert {number: whole.losses[number] for number in rest.losses} == rest.losses


@pytest.mark.slow
def test_a_short_last_window_is_an_update_of_its_own(by_hand: Printed, tmp_path: Path) -> None:
    longer = {**SHORT, "1408": "1437"}
    before, after = (run(f"plain_loop_{side}", tmp_path / side, longer) for side in ("before", "after"))
    assert len(before.losses) == len(by_hand.losses) == 22
    assert len(after.losses) == 23


@pytest.mark.parametrize("pair", PAGES)
def test_the_page_has_both_programs_and_their_lines(pair: str) -> None:
    text = (GUIDES / f"{PAGES[pair]}.md").read_text(encoding="utf-8")
    before, after = (path_of(pair, side) for side in ("before", "after"))
    for path in (before, after):
        assert f'--8<-- "{path.relative_to(ROOT).as_posix()}"' in text
    counts = re.search(r"^\| lines of code \| (\d+) \| (\d+) \|$", text, re.MULTILINE)
    shared = re.search(r"^\| of these in both \| (\d+) \| (\d+) \|$", text, re.MULTILINE)
    assert counts, "the page has a row with the lines of code"
    assert shared, "the page has a row with the lines in both"
    assert counts.groups() == (str(len(lines_of_program(before))), str(len(lines_of_program(after))))
    assert set(shared.groups()) == {str(lines_in_both(before, after))}


def test_the_index_has_the_lines_of_all() -> None:
    rows = re.findall(
        r"^\| \[[^]]+\]\(([\w-]+)\.md\) \| (\d+) \| (\d+) \| (\d+) \|$", (GUIDES / "index.md").read_text(), re.MULTILINE
    )
    expected = {}
    for pair, page in {**PAGES, "hydra_template": "hydra-template"}.items():
        before, after = (path_of(pair, side) for side in ("before", "after"))
        counts = len(lines_of_program(before)), len(lines_of_program(after)), lines_in_both(before, after)
        expected[page] = tuple(map(str, counts))
    assert {page: tuple(counts) for page, *counts in rows} == expected


def test_lines_in_both_are_counted(tmp_path: Path) -> None:
    for name, text in {"a.py": "x = 1\n\n# why\ny = 2\ny = 2\n", "b.py": '"""Say."""\ny = 2\nx = 1\n'}.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "c.yaml").write_text("# why\n\nx: 1\n")
    assert lines_in_both(tmp_path / "a.py", tmp_path / "b.py") == 2
    assert lines_of_program(tmp_path) == ["x = 1", "y = 2", "y = 2", "y = 2", "x = 1", "x: 1"]


def test_the_project_has_the_layout_that_accel_new_makes() -> None:
    project = PROGRAMS / "hydra_template_after"
    files = {
        path.relative_to(project).as_posix() for path in project.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    }
    assert files == project_files("digit_net").keys() - {"README.md", ".gitignore"}


@pytest.mark.slow
def test_the_test_of_the_project_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = PROGRAMS / "hydra_template_after"
    monkeypatch.syspath_prepend(str(project))
    runpy.run_path(str(project / "tests/test_digit_net.py"))["test_the_first_experiment_learns"](tmp_path)


TABLE = re.findall(r"^\| `([^`]+)` \| `([^`]+)`", read_section("hydra-template.md", "## What you type"), re.MULTILINE)
"""What is typed behind the two commands, in the template and in accel."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A new project whose task is called as no module here is."""
    folder = tmp_path_factory.mktemp("new") / "typed_rings"
    make_project(folder)
    yield folder
    sys.modules.pop(folder.name, None)


@pytest.mark.parametrize("words", [words for _, words in TABLE if "hparams_search" not in words])
def test_what_is_typed_composes(words: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(project))
    first = re.sub(r"=([^,\[\]]+),\S+", r"=\1", words.removeprefix("--multirun "))  # of the values of a sweep
    compose = partial(accel.compose, ["task=typed_rings", *first.split()], config_dir=str(project / "conf"))
    if machine.resolve_device("auto") == "cpu" and ("cuda" in words or "float16" in words):
        with pytest.raises(accel.ConfigError, match="CUDA"):
            compose()
    else:
        assert compose().trainer(watch=()) is not None


def test_the_table_has_what_the_readme_of_the_template_types() -> None:
    assert len(TABLE) >= 18
