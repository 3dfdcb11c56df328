"""What docs/guides/coming-from/hydra-template.md says: a project in the layout of the template, and one in that of `accel new`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from accel.cli.train_command import main
from tests.support.coming_from import PROGRAMS, read
from tests.support.forked_process import run_script

pytest.importorskip("lightning", reason="needs the extra ecosystem")
pytest.importorskip("sklearn", reason="needs the extra demo")
pytestmark = pytest.mark.slow


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project before, whose runs it may write to."""
    return Path(shutil.copytree(PROGRAMS / "hydra_template_before", tmp_path / "before"))


def test_the_losses_are_the_same(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = run_script(project / "src/train.py", "experiment=first", cwd=project)
    assert ended.code == 0, ended.stderr
    before = read(ended.stdout)
    after = PROGRAMS / "hydra_template_after"
    monkeypatch.syspath_prepend(str(after))
    monkeypatch.chdir(tmp_path)
    words = ["task=digit_net", "+experiment=first", f"out={tmp_path / 'run'}", "device=cpu", "~plugins.progress"]
    assert main(["--config-dir", str(after / "conf"), *words]) == 0
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    losses = {row["update"]: row["loss"] for row in rows if "loss" in row}
    assert losses.keys() == before.losses.keys() == set(range(1, 111))
    assert max(abs(losses[number] / float(before.losses[number]) - 1) for number in losses) < 1e-4
    accuracies = [row["val_accuracy"] for row in rows if "val_accuracy" in row]
    printed = [float(metric.split()[-1]) for metric in before.metrics]
    assert accuracies == pytest.approx(printed, abs=3 / 389), "a picture whose two best scores are equal but for the last bits"


def test_the_test_of_the_project_before_passes(project: Path) -> None:
    ended = run_script(Path(pytest.__file__).parent / "__main__.py", "-q", "-p", "no:cacheprovider", project / "tests", cwd=project)
    assert "1 passed" in ended.stdout, ended.stdout + ended.stderr
