"""What is common to the stores stands in test_lmdb.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from accel.data.store import Files
from accel.data.stores.encoding_recipe import Recipe
from accel.data.stores.packing import Packing
from accel.errors import AccelWarning, ConfigError
from accel.plugins.raw import Raw
from accel.tasks.images import Images
from accel.testing import fit_toy


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for split in ("train", "test"):
        for name, level in (("bright", 200), ("dark", 50)):
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(4):
                Image.new("RGB", (30, 20 + number), (level + number, level, level)).save(tmp_path / split / name / f"{number}.png")
        Packing(Files(tmp_path / split, ["bright", "dark"]), tmp_path / f"{split}.raw", Recipe("raw", short_side=10)).run()
    return tmp_path


def test_shrunk_pictures_are_read_and_the_plan_says_so(root: Path) -> None:
    plugin = Raw()
    Images(root=str(root), size=8, plugins=[plugin], watch=(), batch_size=4, device="cpu").fit()
    message = plugin.plan_notes()["train store"]
    assert message.startswith("8 records, raw, ")
    assert "other pictures than the files: shrunk to a shorter side of at most 10 pixels" in message


def test_no_picture_is_decoded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files could be anything: only their names are looked at."""
    for file in root.glob("*/*/*.png"):
        file.write_bytes(b"no picture")
    plugin = Raw()
    plugin.setup(None)  # type: ignore[arg-type]
    data = plugin.open(Images(root=str(root), size=8).data("test"), "test")
    assert np.array_equal(np.unique(data[0][0]), [200])


def test_a_store_that_is_not_there(root: Path) -> None:
    (root / "test.raw").unlink()
    with pytest.raises(ConfigError, match=rf"raw: there is no {root}/test.raw; make it with: python -m accel pack .* --format raw"):
        Images(root=str(root), size=8, plugins=[Raw()], watch=(), device="cpu").fit()


def test_data_that_reads_from_no_store() -> None:
    with pytest.warns(AccelWarning, match="raw has no effect: the data is a TensorDataset"):
        fit_toy([Raw()])
