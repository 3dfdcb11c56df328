from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from accel.__main__ import main
from accel.cli.new.project_files import class_name
from accel.errors import ConfigError


@pytest.mark.slow
def test_from_an_empty_folder_to_a_trained_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new", "two_rings"]) == 0
    assert "task=two_rings +experiment=first" in capsys.readouterr().out
    project = tmp_path / "two_rings"
    assert {path.name for path in (project / "conf").iterdir()} == {"task", "experiment", "plugins", "hparams_search"}
    monkeypatch.chdir(project)
    monkeypatch.syspath_prepend(str(project))
    words = ["--config-dir", "conf", "task=two_rings", "+experiment=first"]
    assert main(["train", *words, "epochs=5", "out=run"]) == 0
    assert (project / "run/best.safetensors").exists()
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], capture_output=True, text=True, check=False
    )
    assert "1 passed" in ended.stdout, ended.stdout
    assert main(["train", "--cfg", "job", *words, "hparams_search=rate"]) in (0, 2)


def test_what_it_makes_is_whole_python(tmp_path: Path) -> None:
    from accel.cli.new.new_command import make_project

    make_project(tmp_path / "rings")
    for path in (tmp_path / "rings").rglob("*.py"):
        compile(path.read_text(), str(path), "exec")
    assert class_name("two_rings") == "TwoRings"
    assert [path.name for path in tmp_path.iterdir()] == ["rings"]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("My-Task", "cannot be the name of a module"), ("class", "cannot be the name of a module"),
        ("json", "a module is called 'json'"),
        ("conftest", "a project has conftest.py"), ("tests", "a project has tests/"), ("conf", "a project has conf/"),
        ("torch", "a module is called 'torch'"), ("there", "there is there already"), ("no/folder/x", "cannot be made"),
    ],
)  # fmt: skip
def test_what_cannot_be_made_is_refused_and_leaves_nothing(
    name: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    (tmp_path / "no").touch()
    with pytest.raises(ConfigError, match=sentence):
        main(["new", name])
    assert {path.name for path in tmp_path.iterdir()} == {"there", "no"}


def test_one_project_has_one_name() -> None:
    with pytest.raises(ConfigError, match="a project has one name"):
        main(["new", "a", "b"])
