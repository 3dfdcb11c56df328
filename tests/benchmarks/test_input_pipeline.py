"""The benchmark of the input pipeline packs, runs its arms and says how they compare; the plain arm is torchvision's arithmetic."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.drawn_images import drawing
from tests.support.forked_process import run_script

pytest.importorskip("lmdb", reason="needs the extra lmdb")
pytest.importorskip("cv2", reason="needs the extra opencv")
pytest.importorskip("simplejpeg", reason="needs the extra simplejpeg")
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "photographs"
    folder.mkdir()
    for number in range(4):
        drawing(300 + number, 280).save(folder / f"{number}.JPEG", quality=90)
    return folder


@pytest.mark.slow
def test_results(root: Path, tmp_path: Path) -> None:
    script, out = BENCHMARKS / "input_pipeline.py", tmp_path / "input.json"
    arm = "tiled, short side 256, area, workers"
    words = [root, "--work", tmp_path / "work", "--rounds", "1", "--seconds", "0.1", "--crops", "4", "--out", out]
    ended = run_script(script, *words, "--only", arm[:-6], cwd=tmp_path)
    assert ended.code == 0, ended.stderr
    result = json.loads(out.read_text())
    plain, actual = result["arms"]["DataLoader + PIL, float"], result["arms"][arm]
    assert list(result["arms"]) == ["DataLoader + PIL, float", arm], "what begins so, and what it is compared with"
    assert plain["shape"] == [64, 3, 224, 224]
    assert plain["dtype"] == "float32"
    assert actual["shape"] == [64, 224, 224, 3]
    assert actual["dtype"] == "uint8"
    assert actual["ratio"]["median"] == pytest.approx(actual["rates"][0] / plain["rates"][0], rel=1e-3)
    assert plain["ratio"]["median"] == 1
    assert actual["target"] == 7.5
    assert 15 < actual["pixels"]["psnr"] < 60
    assert (tmp_path / "work" / "tiled256.lmdb").exists()
    assert f"| {arm} |" in out.with_suffix(".md").read_text()


def test_a_peer_that_is_not_there_is_reported(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import feeds
    import input_pipeline  # type: ignore[import-not-found]

    arguments = input_pipeline.argparse.Namespace(
        root=root, work=tmp_path, seconds=0.1, cores=1, cifar=None, peers=sys.executable, seed=0
    )
    monkeypatch.setitem(feeds.PEERS, "nobody", feeds.Arm("nobody"))
    why = input_pipeline.run("nobody", feeds.PEERS["nobody"], arguments, 0)
    assert why == "KeyError: 'nobody'", "its own process knows no such arm"
    for name in [name for name in sys.modules if name == "input_pipeline" or name.split(".")[0] == "feeds"]:
        del sys.modules[name]


def test_the_plain_arm_is_torchvisions_arithmetic(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from feeds import plain
    from PIL import Image

    picture = Image.open(root / "0.JPEG").convert("RGB")
    pixels = plain.normalised(picture)
    expected = (torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255 - torch.tensor(plain.MEAN)[:, None, None]) / (
        torch.tensor(plain.STD)[:, None, None]
    )
    assert torch.equal(pixels, expected)
    torch.manual_seed(0)
    windows = [plain.window(300, 200) for _ in range(200)]
    assert all(0 <= left <= 300 - wide and 0 <= top <= 200 - high for left, top, wide, high in windows)
    shares = [wide * high / 60_000 for _, _, wide, high in windows]
    assert 0.07 < min(shares) < 0.15
    assert max(shares) > 0.6
    for name in [name for name in sys.modules if name.split(".")[0] == "feeds"]:
        del sys.modules[name]
