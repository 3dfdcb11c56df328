"""Edited code is told at resume, with the revisions; old checkpoints, other Pythons and accepted edits pass."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from accel.checkpoints.code import changed_code, code_record
from accel.checkpoints.code.git_revision import code_folder, git_revision
from accel.checkpoints.discovery import find
from accel.errors import AccelWarning
from accel.trainer import Trainer

BATCHES = [(torch.ones(2, 3), torch.zeros(2, 3))] * 2


def mean(model: nn.Module, batch: Any) -> Any:
    """The loss of the first run."""
    return (model(batch[0]) - batch[1]).square().mean()


def mean_of_absolutes(model: nn.Module, batch: Any) -> Any:
    """The loss after the edit."""
    return (model(batch[0]) - batch[1]).abs().mean()


def fit(out: Path, loss: Any, epochs: int = 1, **settings: Any) -> None:
    Trainer(nn.Linear(3, 3), BATCHES, loss=loss, epochs=epochs, out=out, watch=(), device="cpu", **settings).fit()


def test_an_edited_loss_is_told_and_goes_on(tmp_path: Path) -> None:
    fit(tmp_path / "run", mean)
    fit(tmp_path / "run", mean, 2, resume="auto")
    with pytest.warns(
        AccelWarning, match=r"resume=auto: the code of loss is not what it was.* 'resume.allow=\[code.loss\]' says so"
    ):
        fit(tmp_path / "run", mean_of_absolutes, 3, resume="auto")
    fit(tmp_path / "run", mean, 4, resume="auto", allow=["code"])


def test_only_what_both_runs_know_is_compared() -> None:
    now = code_record({"loss": "a", "data": "b"}, None)
    assert changed_code({}, now, []) == ""
    assert changed_code({"code": "spoilt", "git": 3}, now, []) == ""
    assert changed_code({"code": {"python": "3.0", "loss": "z"}}, now, []) == ""
    assert changed_code(code_record({"loss": "a"}, None), now, []).startswith("the code of data is not what it was, and")
    assert "loss and data" in changed_code(code_record({"loss": "b"}, None), now, ["task"])
    assert "resume.allow=[task,code.data]" in changed_code(code_record({"loss": "a"}, None), now, ["task"])
    git = {"revision": "0123456789abcdef", "dirty": True}
    assert "(git was 0123456789, edited and is f)" in changed_code(
        code_record({"loss": "b"}, None) | {"git": git}, now | {"git": {"revision": "f"}}, ["code.data"]
    )


def test_the_revision_of_git_is_kept(tmp_path: Path) -> None:
    assert git_revision(tmp_path / "nowhere") == {}
    repository = tmp_path / "repository"
    for command in (
        ["init", "-q"], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "x"],
    ):  # fmt: skip
        repository.mkdir(exist_ok=True)
        subprocess.run(["git", "-C", str(repository), *command], check=True)
    revision = git_revision(repository)
    assert not revision["dirty"]
    assert len(revision["revision"]) == 40
    assert code_folder([torch.add, mean]) == Path(__file__).parent
    assert code_folder([]) == Path.cwd()


def test_a_checkpoint_has_both(tmp_path: Path) -> None:
    fit(tmp_path / "run", mean)
    checkpoint = find("auto", tmp_path / "run")
    assert checkpoint is not None
    assert set(checkpoint.manifest.identity["code"]) == {"python", "loss", "model"}
