"""The built wheel works in an environment of its own, from any directory, without the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

pytestmark = [pytest.mark.costly, pytest.mark.slow]

ROOT = Path(__file__).parents[2]


def run(*words: str | Path, cwd: Path, **env: str) -> str:
    done = subprocess.run([str(word) for word in words], cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The python of a virtual environment into which nothing but the wheel was installed."""
    pytest.importorskip("build", reason="needs the extra dev")
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    assert wheel.name.startswith("accel_train-")
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    python = folder / "venv/bin/python"
    run(python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--disable-pip-version-check", wheel, cwd=folder)
    return python


def test_it_trains_from_any_directory(python: Path, tmp_path: Path) -> None:
    # its dependencies are those of this environment; the checkout itself is not on this path
    env = {"PYTHONPATH": sysconfig.get_path("purelib"), "OMP_NUM_THREADS": "1"}
    where = run(python, "-c", "import accel; print(accel.__file__)", cwd=tmp_path, **env)
    assert str(python.parents[1]) in where
    out = run(python, "-m", "accel.train", "+plugins=[amp,adamw]", "task.width=4", "epochs=1", "out=run", cwd=tmp_path, **env)
    assert "test accuracy" in out
    assert (tmp_path / "run/summary.json").exists()
    assert "updates=null" in run(python.with_name("accel-train"), "--help", cwd=tmp_path, **env)
    assert "onecycle" in run(python, "-m", "accel", "plugins", cwd=tmp_path, **env)
    assert "onecycle" in run(python.with_name("accel"), "plugins", cwd=tmp_path, **env)
    assert "complete -o nospace" in run(python.with_name("accel"), "completion", "bash", cwd=tmp_path, **env)
    assert (
        run(python.with_name("accel"), "completion", "query", "bash", "accel train task=d", "=", cwd=tmp_path, **env) == "digits \n"
    )
