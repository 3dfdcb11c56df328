"""An export onto a disk that is full, is read-only, or goes away with its process: all of it or nothing, and a sentence."""

from __future__ import annotations

import resource
import shutil
from pathlib import Path

import pytest

import accel
from tests.support.exported_runs import skip_missing
from tests.support.forked_process import run_forked
from tests.support.points_task import Points

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("disk") / "run"
    Points(width=64, updates=1, batch_size=16, device="cpu", watch=(), out=str(out)).fit()
    accel.export(out, "torchscript", seconds=0)
    return out


@pytest.mark.parametrize("name", ["pt2", "torchscript", "onnx"])
def test_a_file_that_may_not_grow_is_the_disks_fault(name: str, run: Path, tmp_path: Path) -> None:
    skip_missing(name)
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    before = {path.relative_to(copy): path.read_bytes() for path in copy.rglob("*") if path.is_file()}

    def full() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
        try:
            accel.export(copy, name, seconds=0)
        except accel.ConfigError as error:
            print(error)

    ended = run_forked(full)
    assert ended.code == 0, ended.stderr
    assert "cannot be written (a file may not grow that large); make room on its disk" in ended.stdout
    assert {path.relative_to(copy): path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before


def test_a_run_without_weights_says_so(run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    (copy / "model.safetensors").unlink()
    shutil.rmtree(copy / "checkpoints")
    with pytest.raises(accel.ConfigError, match="holds no weights: its run has not come to a checkpoint"):
        accel.export(copy, "torchscript")


def test_a_link_to_a_run_is_that_run(run: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(run)
    assert accel.export(tmp_path / "link", "torchscript", seconds=0).hold
    assert (run / "export/torchscript/card.json").is_file()
