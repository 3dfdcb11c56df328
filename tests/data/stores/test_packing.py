"""Packing: whole or not at all, and on from where it was when it was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from accel.data.store import Files, class_names
from accel.data.stores.encoding_recipe import Recipe
from accel.data.stores.formats import store_at
from accel.data.stores.lmdb_writer import LMDBWriter
from accel.data.stores.pack_journal import Journal
from accel.data.stores.packing import Packing
from accel.data.stores.record_format import EncodedPicture
from accel.errors import ConfigError
from tests.data.stores.conftest import Pack

BOTH = pytest.mark.parametrize("format", ["lmdb", "raw"])


def recipe(format: str) -> Recipe:
    return Recipe("raw" if format == "raw" else "original")


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
    tell = lambda phase, pictures: print(phase, pictures, flush=True)
    Packing(Files(Path(folder), ["cat", "dog"]), Path(path), Recipe(encoding), int(workers), on_progress=tell).run()
"""


@BOTH
@pytest.mark.parametrize(("pictures", "workers"), [(1, 1), (1100, 2), (2200, 1)])
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


def contents(path: Path) -> list[bytes]:
    store = store_at(path)
    return [bytes(record) for record in store.get_many(range(len(store)))]


@BOTH
def test_the_number_of_workers_changes_nothing(files: Files, tmp_path: Path, format: str) -> None:
    for workers in (1, 2):
        Packing(files, tmp_path / f"{workers}.{format}", recipe(format), workers).run()
    assert (tmp_path / f"1.{format}").read_bytes() == (tmp_path / f"2.{format}").read_bytes()


class Stop(Exception):
    """What a test raises inside a packing."""


def interrupted(source: Files, path: Path, after: int, how: Recipe | None = None, skip: bool = False) -> Packing:
    """A packing that was left after so many pictures: what was ready is written, as when the user interrupts it."""
    seen = 0

    def tell(what: str, pictures: int) -> None:
        nonlocal seen
        seen += pictures
        if seen >= after:
            raise Stop

    with pytest.raises(Stop):
        Packing(source, path, how or recipe(path.suffix[1:]), skip=skip, on_progress=tell).run()
    assert not path.exists()
    return Packing(source, path, how or recipe(path.suffix[1:]), skip=skip)


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


def one_go(source: Files, folder: Path, format: str) -> list[bytes]:
    path = folder / f"one go.{format}"
    path.unlink(missing_ok=True)
    Packing(source, path, recipe(format)).run()
    return contents(path)


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


@BOTH
@pytest.mark.parametrize("skip", [False, True])
def test_pictures_that_cannot_be_read(files: Files, tmp_path: Path, format: str, skip: bool) -> None:
    path = tmp_path / f"x.{format}"
    for number, data in ((3, b""), (17, Path(files.files[17]).read_bytes()[:60]), (39, b"no picture")):
        Path(files.files[number]).write_bytes(data)
    job = Packing(files, path, recipe(format), skip=skip)
    if not skip:
        with pytest.raises(ConfigError, match=r"cannot read the picture .*cat/11.webp: it is empty; .* --on-error skip"):
            job.run()
        assert not path.exists()
        Image.new("RGB", (9, 9)).save(files.files[3])
        with pytest.raises(ConfigError, match=Path(files.files[17]).name):
            job.run()
        assert job.resumed == 3, "what had been written before is kept"
        return
    about = job.run()
    assert (about.count, about.skipped) == (37, [files.key(number) for number in (3, 17, 39)])
    assert len(job.skip_reasons) == 3
    store = store_at(path)
    assert [store.key(index) for index in range(37)] == [files.key(number) for number in range(40) if number not in (3, 17, 39)]
    assert [store.label(index) for index in range(37)] == [files.label(number) for number in range(40) if number not in (3, 17, 39)]


@BOTH
def test_interrupted_behind_pictures_that_were_left_out(files: Files, tmp_path: Path, format: str) -> None:
    for number in (3, 17):
        Path(files.files[number]).write_bytes(b"")
    job = interrupted(files, tmp_path / f"x.{format}", 25, skip=True)
    about = job.run()
    assert job.resumed == 23
    assert about == Packing(files, tmp_path / f"whole.{format}", recipe(format), skip=True).run()
    assert contents(tmp_path / f"x.{format}") == contents(tmp_path / f"whole.{format}")


@BOTH
def test_mended_behind_a_picture_that_changed(files: Files, tmp_path: Path, format: str) -> None:
    for number in (3, 17):
        Path(files.files[number]).write_bytes(b"")
    job = interrupted(files, tmp_path / f"x.{format}", 25, skip=True)
    for number in (10, 17):
        Image.new("RGB", (9, 9)).save(files.files[number])
    about = job.run()
    assert job.resumed == 9
    assert about.skipped == [files.key(3)]
    assert about == Packing(files, tmp_path / f"whole.{format}", recipe(format), skip=True).run()


FULL = """
import resource, sys
from pathlib import Path
from accel.data.stores.packing import Packing
from accel.data.stores.encoding_recipe import Recipe
from accel.data.store import Files
from accel.errors import ConfigError

folder, path, encoding = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))  # the disk takes no more of any one file
try:
    Packing(Files(Path(folder), ["cat", "dog"]), Path(path), Recipe(encoding)).run()
except ConfigError as error:
    print(error)
"""


@BOTH
def test_a_full_disk(files: Files, tmp_path: Path, format: str) -> None:
    path = tmp_path / f"x.{format}"
    words = [sys.executable, "-c", FULL, str(files.folder), str(path), recipe(format).encoding]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"cannot write {path}.part: there is no room left; make room and give the same command again" in done.stdout
    assert not path.exists()
    job = Packing(files, path, recipe(format))
    job.run()
    assert contents(path) == one_go(files, tmp_path, format)


def test_a_map_that_is_full_grows(tmp_path: Path) -> None:
    writer = LMDBWriter(tmp_path / "x.part", map_size=1 << 15)
    records = [EncodedPicture(0, 1, 1, bytes([number]) * 5000) for number in range(100)]
    writer.add(records[:50])
    writer.add(records[50:])
    assert writer.map_size >= 100 * 5000
    writer.close()
    assert LMDBWriter(tmp_path / "x.part", map_size=1 << 15).crcs == writer.crcs


def test_two_at_once_are_refused(files: Files, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "x.lmdb.plan")
    with pytest.raises(ConfigError, match=r"another process is packing into .*x.lmdb; wait for it"):
        Packing(files, tmp_path / "x.lmdb", Recipe()).run()
    journal.close(done=True)


def test_a_finished_one_is_never_written_over(files: Files, pack: Pack) -> None:
    store = pack("lmdb")
    before = store.path.read_bytes()
    with pytest.raises(ConfigError, match="is there already"):
        pack("lmdb")
    assert Packing(files, store.path, Recipe()).existing() == store.info
    with pytest.raises(ConfigError, match="the same pictures, packed otherwise"):
        Packing(files, store.path, Recipe("bmp")).existing()
    Image.new("RGB", (9, 9)).save(files.folder / "cat" / "new.png")
    with pytest.raises(ConfigError, match="with other pictures"):
        Packing(Files(files.folder, files.classes), store.path, Recipe()).existing()
    assert store.path.read_bytes() == before


def test_a_store_can_be_packed_otherwise(pack: Pack, tmp_path: Path) -> None:
    direct = pack("raw", "direct", short_side=20)
    about = Packing(pack("lmdb"), tmp_path / "again.raw", Recipe("raw", short_side=20)).run()
    assert about.fingerprint == direct.fingerprint()


@pytest.mark.parametrize("mode", ["L", "I;16", "CMYK", "P", "RGBA", "1"])
def test_pictures_of_every_mode(tmp_path: Path, mode: str) -> None:
    """Packed as decoding shows them."""
    for name in ("a", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        suffix = "jpg" if mode == "CMYK" else "png"
        values = np.arange(8 * 9 * 4).reshape(8, 9, 4)
        array = {"I;16": values[..., 0].astype(np.uint16) * 200, "CMYK": values, "RGBA": values}.get(mode, values[..., 0])
        picture = Image.fromarray(array.astype(array.dtype if mode == "I;16" else np.uint8))
        if mode == "CMYK":
            picture = Image.frombytes("CMYK", (9, 8), values.astype(np.uint8).tobytes())
        (picture if mode in ("I;16", "CMYK", "RGBA") else picture.convert(mode)).save(tmp_path / "data" / name / f"0.{suffix}")
    source = Files(tmp_path / "data", class_names(tmp_path / "data"))
    from accel.data.codecs.pillow_decoder import decode

    for path, encoding in (("x.raw", "raw"), ("x.lmdb", "bmp")):
        Packing(source, tmp_path / path, Recipe(encoding)).run()
        from accel.data.codecs.image_reader import decode_record

        store = store_at(tmp_path / path)
        shown = np.asarray(decode_record(store.get(0), "x", encoding))
        assert np.array_equal(shown, np.asarray(decode(source.get(0), "x")))
