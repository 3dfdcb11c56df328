"""Packing: whole or not at all, and on from where it was when it was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from accel.data.store import Files
from accel.data.stores.encoding_recipe import Recipe
from accel.data.stores.formats import store_at
from accel.data.stores.packing import Packing
from tests.support.interrupted_packing import BOTH, contents, interrupted, one_go, recipe

pytestmark = pytest.mark.usefixtures("forked_commands")


@pytest.fixture
def many(tmp_path: Path) -> Files:
    """2,300 tiny pictures: three batches of records."""
    for name in ("cat", "dog"):
        (tmp_path / "many" / name).mkdir(parents=True)
        for number in range(1150):
            Image.new("RGB", (3, 2 + number % 3), (number % 256, number // 256, 0)).save(
                tmp_path / "many" / name / f"{number:04}.bmp"
            )
    return Files(tmp_path / "many", ["cat", "dog"])


PACKER = """
import sys
from pathlib import Path
from accel.data.stores.packing import Packing
from accel.data.stores.encoding_recipe import Recipe
from accel.data.store import Files

if __name__ == "__main__":
    folder, path, encoding, workers = sys.argv[1:]
    tell = lambda what, pictures: print(what, pictures, flush=True)
    Packing(Files(Path(folder), ["cat", "dog"]), Path(path), Recipe(encoding), int(workers), on_progress=tell).run()
"""


@BOTH
@pytest.mark.parametrize(("pictures", "workers"), [(1, 1), (1100, 2), (2200, 1)])
@pytest.mark.slow
def test_killed_and_given_again(many: Files, tmp_path: Path, format: str, pictures: int, workers: int) -> None:
    """Killed -9 after so many pictures, it keeps whole batches and ends with the records that one go would have given."""
    path, whole = tmp_path / f"killed.{format}", tmp_path / f"whole.{format}"
    words = [sys.executable, "-c", PACKER, str(many.folder), str(path), recipe(format).encoding, str(workers)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _, line in zip(range(pictures + 1), process.stdout, strict=False):
            assert line.startswith("packing")
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)  # which ends when the last of its processes has
    assert process.returncode == -signal.SIGKILL
    assert not path.exists(), "nothing half-written stands under the final name"
    job = Packing(many, path, recipe(format))
    about = job.run()
    assert job.resumed >= pictures // 1024 * 1024, "what had been written was kept"
    assert about == Packing(many, whole, recipe(format)).run()
    assert contents(path) == contents(whole)
    assert [entry.name for entry in tmp_path.glob("killed.*")] == [path.name], "nothing is left beside it"


@BOTH
@pytest.mark.slow
def test_the_number_of_workers_changes_nothing(files: Files, tmp_path: Path, format: str) -> None:
    for workers in (1, 2):
        Packing(files, tmp_path / f"{workers}.{format}", recipe(format), workers).run()
    assert (tmp_path / f"1.{format}").read_bytes() == (tmp_path / f"2.{format}").read_bytes()


@BOTH
def test_what_changed_meanwhile_is_packed_anew(files: Files, tmp_path: Path, format: str) -> None:
    """A picture that is another one, a picture more, another recipe: nothing of what was before is taken for what is now."""
    path = tmp_path / f"x.{format}"
    job = interrupted(files, path, 30)
    Image.new("RGB", (40, 24), (1, 2, 3)).save(files.files[11])
    fresh = Files(files.folder, files.classes)
    job.source = fresh
    job.run()
    assert job.resumed == 11
    assert contents(path) == [bytes(record) for record in one_go(fresh, tmp_path, format)]

    path = tmp_path / f"y.{format}"
    job = interrupted(files, path, 30)
    Image.new("RGB", (40, 24), (1, 2, 3)).save(files.folder / "cat" / "12a.png")
    fresh = Files(files.folder, files.classes)
    job.source = fresh
    job.run()
    assert 0 < job.resumed < 30
    assert contents(path) == [bytes(record) for record in one_go(fresh, tmp_path, format)]


def test_another_recipe_begins_anew(files: Files, tmp_path: Path) -> None:
    job = interrupted(files, tmp_path / "x.lmdb", 30, Recipe("jpeg", quality=50))
    job.recipe = Recipe("jpeg", quality=60)
    job.run()
    assert job.resumed == 0
    assert store_at(tmp_path / "x.lmdb").info.changed == "encoded anew as JPEG of quality 60"


@BOTH
def test_half_a_record_is_thrown_away(files: Files, tmp_path: Path, format: str) -> None:
    """As when the power fails: the file ends in the middle of a record, or holds what was never written."""
    path = tmp_path / f"x.{format}"
    job = interrupted(files, path, 30)
    part = path.with_name(f"{path.name}.part")
    with open(part, "r+b") as file:
        file.truncate(part.stat().st_size - 5)
    job.run()
    assert job.resumed < 30
    assert contents(path) == one_go(files, tmp_path, format)
