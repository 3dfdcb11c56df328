"""Packing of pictures that cannot be read, onto disks that are full, and over stores that are there."""

from __future__ import annotations

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
from tests.support.forked_process import run_code
from tests.support.interrupted_packing import BOTH, contents, interrupted, one_go, recipe


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
@pytest.mark.slow
def test_interrupted_behind_pictures_that_were_left_out(files: Files, tmp_path: Path, format: str) -> None:
    for number in (3, 17):
        Path(files.files[number]).write_bytes(b"")
    job = interrupted(files, tmp_path / f"x.{format}", 25, skip=True)
    about = job.run()
    assert job.resumed == 23
    assert about == Packing(files, tmp_path / f"whole.{format}", recipe(format), skip=True).run()
    assert contents(tmp_path / f"x.{format}") == contents(tmp_path / f"whole.{format}")


@BOTH
@pytest.mark.slow
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
@pytest.mark.slow
def test_a_full_disk(files: Files, tmp_path: Path, format: str) -> None:
    path = tmp_path / f"x.{format}"
    done = run_code(FULL, files.folder, path, recipe(format).encoding)
    assert done.code == 0, done.stderr
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
