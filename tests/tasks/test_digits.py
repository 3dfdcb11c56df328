from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from accel.errors import ConfigError
from accel.parts import Part
from accel.plugins.adamw import AdamW
from accel.plugins.amp import AMP
from accel.tasks.digits import Digits, digits


@pytest.mark.slow
def test_learns_to_98_percent() -> None:
    result = Digits(watch=(), epochs=20, device="cpu").fit()
    assert result.split == "test"
    assert result.metrics["accuracy"] >= 0.98
    assert len(result.history) == 20


def test_split_is_fair_and_whole() -> None:
    sets = digits()
    assert (len(sets["train"]), len(sets["test"])) == (1437, 360)
    counts = torch.bincount(sets["test"].tensors[1])
    assert counts.min() >= 34
    assert counts.max() <= 38
    pictures = torch.cat([data.tensors[0] for data in sets.values()])
    assert pictures.dtype == torch.float32
    assert pictures.shape == (1797, 1, 8, 8)
    assert (pictures.min(), pictures.max()) == (0, 1)


def test_accumulation_over_a_split_batch_is_exact_in_principle() -> None:
    """No layer looks across the batch: a sample's output is the same whoever stands beside it."""
    model = Digits().model().double()
    pictures = torch.rand(6, 1, 8, 8, dtype=torch.float64)
    assert torch.allclose(model(pictures)[:2], model(pictures[:2]), rtol=1e-12)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 0}, "task.width must be a whole number from 1, not 0"),
        ({"width": 6}, "task.width must be a multiple of 4"),
        ({"smoothing": 1.0}, "task.smoothing must be a number from 0 to below 1, not 1.0"),
    ],
)
def test_settings_are_checked(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Digits(**settings)


@pytest.mark.slow
def test_without_scikit_learn() -> None:
    code = """
import sys
from pathlib import Path
sys.modules["sklearn"] = None
from accel.errors import ConfigError
from accel.tasks.digits import Digits
try:
    Digits(watch=()).fit()
except ConfigError as error:
    assert "pip install 'accel-train[demo]'" in str(error), error
else:
    raise AssertionError("no error")
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("amp", "width", "tolerance"),
    [(AMP(), 16, 0.02), (AMP(dtype="float16", force=True), 4, 0.02)],
    ids=["bfloat16", "float16"],
)
@pytest.mark.slow
def test_16_bits_end_where_32_bits_do(amp: AMP, width: int, tolerance: float) -> None:
    epochs = 4 if width == 16 else 2

    def loss(plugins: list[Part]) -> float:
        return Digits(width=width, plugins=plugins, watch=(), epochs=epochs, device="cpu").fit().metrics["loss"]

    assert loss([amp, AdamW()]) == pytest.approx(loss([AdamW()]), abs=tolerance)


@pytest.mark.slow
def test_training_goes_on_through_overflows() -> None:
    """A loss scale of 2^40 overflows until it has backed off; those updates are skipped, and the rest learn."""
    amp = AMP(dtype="float16", force=True, init_scale=2.0**40, backoff_factor=0.25)
    result = Digits(width=4, plugins=[amp, AdamW(lr=0.01)], watch=(), epochs=2, device="cpu").fit()
    assert 5 <= result.skipped <= 20
    assert result.updates == 90
    assert result.metrics["accuracy"] > 0.8


def test_a_picture_is_read_as_the_data_has_it(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    pixels, _ = digits()["test"][3]
    image.fromarray((pixels[0] * 255).round().to(torch.uint8).numpy()).save(tmp_path / "eight.png")
    assert torch.allclose(Digits(watch=()).sample_of(str(tmp_path / "eight.png")), pixels, atol=0.5 / 255 + 1e-6)
    image.new("RGB", (40, 30), (255, 255, 255)).save(tmp_path / "white.png")
    assert torch.equal(Digits(watch=()).sample_of(str(tmp_path / "white.png")), torch.ones(1, 8, 8))
    with pytest.raises(ConfigError, match="the digits have no split tset; did you mean 'test'"):
        Digits(watch=()).data("tset")
