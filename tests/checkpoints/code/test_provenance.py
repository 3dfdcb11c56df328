from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import torch

from accel.checkpoints.code.git_revision import git_revision
from accel.checkpoints.code.provenance import provenance
from accel.testing import fit_toy


def git(folder: Path, *words: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "-C", str(folder), *identity, *words], check=True, capture_output=True)


def test_the_digest_is_that_of_what_is_not_committed(tmp_path: Path) -> None:
    git(tmp_path, "init")
    (tmp_path / "task.py").write_text("a = 1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    read = git_revision.__wrapped__  # type: ignore[attr-defined]
    clean = read(tmp_path)
    assert clean == {"revision": clean["revision"], "dirty": False}
    digests = []
    for text in ("a = 2\n", "a = 3\n", "a = 2\n"):
        (tmp_path / "task.py").write_text(text)
        digests.append(read(tmp_path)["diff"])
    assert digests[0] == digests[2] != digests[1]
    assert len(digests[0]) == 16
    git(tmp_path, "add", ".")
    assert read(tmp_path)["diff"] == digests[0], "staged or not"
    assert read(Path("/proc")) == {}


def test_a_run_without_a_directory_keeps_nothing() -> None:
    assert provenance("python -m accel.train", None, torch.device("cpu")) == {}


def test_plan_and_summary_say_what_the_run_was_made_with(tmp_path: Path) -> None:
    fit_toy(["csv"], out=tmp_path)
    plan, summary = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("plan", "summary"))
    assert plan["provenance"] == summary["provenance"]
    assert summary["provenance"]["versions"]["torch"] == torch.__version__
    assert {"host", "command", "git"} < set(summary["provenance"])
    assert summary["memory"]["process"] > 1 << 26
    assert plan["task"]["class"] == "accel.testing.toy_run.Toy"
    assert plan["task"]["arguments"]["dropout"] == 0.1
    numbers = {"batch_size": 4, "micro_batches": 1, "ranks": 1, "effective_batch": 4, "updates": 12, "updates_per_epoch": 6}
    assert numbers.items() <= plan["numbers"].items()
    kept = json.dumps([plan, summary])
    secrets = [value for name, value in os.environ.items() if name in ("PYTHONPATH", "LS_COLORS", "PYTEST_CURRENT_TEST")]
    assert not [value for value in secrets if len(value) > 8 and value in kept]
