"""Every example runs, from a directory of its own, and learns."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import partial
from importlib import import_module
from pathlib import Path

import pytest

from accel import testing
from accel.cli.train_command import main
from tests.support.companions import COMPANIONS
from tests.support.drill_length import LONG
from tests.support.forked_process import run_script
from tests.support.rank_processes import ROOT

EXAMPLES = ROOT / "examples"
pytest.importorskip("sklearn", reason="the examples need the extra demo")


def run(*words: str, cwd: Path, path: Path) -> str:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(map(str, (path, ROOT)))}
    done = subprocess.run([sys.executable, "-W", "error", *words], cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def shorten(example: Path) -> None:
    """Let an example take a second or two, but in the long drills: its net is narrow, and its plugin is tried beside few others.

    The first one's is as wide as it stands there. Most CPUs emulate bfloat16, and take twenty seconds for each of the others.
    """
    if LONG:
        return
    if not example.stem.startswith("01"):
        import_module("digits").net.__defaults__ = (8,)
    testing.check_plugin = partial(testing.check_plugin, beside=COMPANIONS)


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("[0-9]*.py")), ids=lambda path: path.stem)
@pytest.mark.slow
def test_it_runs_and_learns(example: Path, tmp_path: Path) -> None:
    ended = run_script(example, cwd=tmp_path, error_on_warning=True, prepare=partial(shorten, example))
    assert ended.code == 0, ended.stdout + ended.stderr
    accuracy = re.search(r"^accuracy (\S+) after", ended.stdout, re.MULTILINE)
    assert accuracy
    assert float(accuracy[1]) > 0.9
    assert list(tmp_path.iterdir()) == []


COMMANDS = {
    path.stem: actual[1]
    for path in sorted(EXAMPLES.glob("*.py"))
    if (actual := re.search(r"python -m (accel.train [^\n\"]*)", path.read_text()))
}


@pytest.mark.parametrize("example", COMMANDS)
def test_the_command_in_its_docstring_works(
    example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(EXAMPLES))
    _, *words = COMMANDS[example].split()
    assert main([*words, "dry_run=true"]) == 0
    assert "updates" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_third_party_package_adds_a_plugin(tmp_path: Path) -> None:
    # installed as pip would: the package beside its metadata, on the path
    package = EXAMPLES / "07_third_party"
    site = tmp_path / "site"
    (site / "accel_sign-0.1.0.dist-info").mkdir(parents=True)
    (site / "accel_sign-0.1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: accel-sign\nVersion: 0.1.0\n")
    (site / "accel_sign-0.1.0.dist-info/entry_points.txt").write_text("[accel.plugins]\nsign = accel_sign\n")
    (site / "accel_sign").symlink_to(package / "accel_sign")
    out = run("-m", "accel.train", "+plugins=[amp,sign]", "plugins.sign.lr=0.002", "dry_run=true", cwd=tmp_path, path=site)
    assert "sign" in out
    assert "lr=0.002" in out
    assert "sign" in run("-m", "accel", "plugins", cwd=tmp_path, path=site)


@pytest.mark.slow
def test_its_plugin_passes_the_common_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES / "07_third_party"))
    from accel_sign.sign import Sign  # type: ignore[import-not-found]

    from accel.testing import check_plugin

    check_plugin(Sign, beside=COMPANIONS)
