"""`evaluate A B` and `predict A B`: two runs or exports beside each other, and where they do not agree."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from accel import __main__
from accel.cli.exit_codes import exit_code


def command(*words: str | Path) -> int:
    return exit_code(lambda: __main__.main(list(map(str, words))))


@pytest.fixture(scope="module")
def other(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run with a last layer that is turned round."""
    path = Path(shutil.copytree(run, tmp_path_factory.mktemp("other") / "run"))
    weights = load_file(path / "best.safetensors")
    turned = {name: -value if name.startswith("layers.3") else value for name, value in weights.items()}
    from safetensors import safe_open

    with safe_open(path / "best.safetensors", "pt") as file:  # type: ignore[no-untyped-call]
        save_file(turned, path / "best.safetensors", file.metadata())
    return path


def test_two_runs_are_beside_each_other(run: Path, other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("evaluate", run, "--json") == 0
    own = json.loads(capsys.readouterr().out)["metrics"]
    assert command("evaluate", run, other, "--json", f"out={tmp_path / 'both.json'}") == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert document == json.loads((tmp_path / "both.json").read_text())
    first, second = document["models"]
    assert [first["path"], second["path"]] == [str(run), str(other)]
    assert first["metrics"]["loss"] == pytest.approx(own["loss"])
    assert second["metrics"]["loss"] != pytest.approx(own["loss"])
    comparison = document["comparison"]
    assert comparison["samples"] == 64
    assert comparison["agreement"] < 0.5
    assert comparison["share"] > 0.5
    assert [one["sample"] for one in comparison["disagreements"]] == sorted(one["sample"] for one in comparison["disagreements"])
    assert {*comparison["disagreements"][0]["classes"]} == {"left", "right"}
    assert command("evaluate", run, other) == 0
    printed = capsys.readouterr().out
    assert "the top class agrees in" in printed
    assert "the first 5 samples of val with another top class, counted from 0: " in printed


def test_a_run_agrees_with_itself(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("evaluate", run, run, "--json") == 0
    comparison = json.loads(capsys.readouterr().out)["comparison"]
    assert (comparison["largest"], comparison["agreement"], comparison["disagreements"]) == (0, 1, [])


def test_two_models_predict_the_same_files(run: Path, other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, point in enumerate(torch.randn(4, 2).tolist()):
        (tmp_path / f"{number}.txt").write_text(" ".join(map(str, point)))
    assert command("predict", run, other, tmp_path, "format=jsonl") == 0
    printed = capsys.readouterr()
    rows = list(map(json.loads, printed.out.splitlines()))
    assert len(rows) == 4
    assert all(row["same"] == (row["class"] == row["other_class"]) for row in rows)
    assert f"the same in {sum(row['same'] for row in rows)} of 4 files" in printed.err
    assert command("predict", run, run, tmp_path, "format=jsonl") == 0
    assert all(json.loads(line)["same"] for line in capsys.readouterr().out.splitlines())


def test_what_cannot_be_compared_is_a_sentence(run: Path, other: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, sentence in {
        (run, "nowhere"): "nowhere is neither a setting nor a run that is there",
        (run, run / "plan.json"): "is no file of weights",
        (run, other, "device=cpu"): "device=cpu has no effect on a comparison, which is made on the CPU",
    }.items():
        assert command("evaluate", *words) == 2
        assert sentence in capsys.readouterr().err
