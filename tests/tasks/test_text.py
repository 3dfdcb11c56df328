from __future__ import annotations

from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from accel.data.windows import PADDING, Jittered, Windows
from accel.errors import ConfigError
from accel.tasks.text import Text

TINY: dict[str, Any] = {"context": 16, "layers": 1, "heads": 2, "width": 16}


def test_learns_a_repeated_word(tmp_path: Path) -> None:
    from accel.plugins.adamw import AdamW

    path = tmp_path / "text"
    path.write_bytes(b"abcdefgh" * 400)
    result = Text(path=str(path), **TINY, plugins=[AdamW(lr=1e-2)], watch=(), epochs=3, batch_size=8, device="cpu").fit()
    assert result.split == "val"
    assert result.metrics["bits_per_byte"] < 1.0
    assert result.metrics["bits_per_byte"] == pytest.approx(result.metrics["loss"] / log(2))


def test_the_last_tenth_is_held_out(text: Path) -> None:
    task = Text(path=str(text), **TINY)
    whole = np.frombuffer(text.read_bytes(), np.uint8)
    assert np.array_equal(task.data("train").text, whole[:900])
    assert np.array_equal(task.data("val").text, whole[900:])


@pytest.mark.parametrize("length", [2, 16, 17, 18, 100])
def test_every_byte_after_the_first_is_predicted_once(length: int) -> None:
    text = np.arange(length, dtype=np.uint8)
    windows = Windows(text, context=16)
    targets = torch.cat([windows[index][1:] for index in range(len(windows))])
    assert targets[targets != PADDING].tolist() == list(range(1, length))


@pytest.mark.parametrize("length", [2, 17, 100])
def test_a_moved_window_stays_inside_and_has_a_target(length: int) -> None:
    text = np.arange(length, dtype=np.uint8)
    windows = Jittered(text, context=16)
    rng = np.random.default_rng(0)
    starts = set()
    for index in range(len(windows)):
        for _ in range(50):
            window = windows.sample(index, rng)
            count = int((window[1:] != PADDING).sum())
            assert 1 <= count <= 16
            assert window[: count + 1].tolist() == list(range(int(window[0]), int(window[0]) + count + 1))
            assert (window[count + 1 :] == PADDING).all()
            starts.add(int(window[0]))
    assert length == 2 or len(starts) > 8


def test_loss_is_the_mean_over_the_bytes_that_are_there(text: Path) -> None:
    task = Text(path=str(text), **TINY)
    model = task.model()
    data = task.data("val")
    short = data[len(data) - 1][None]
    count = int((short[:, 1:] != PADDING).sum())
    assert count == 99 % 16
    loss, tokens = task.loss(model, short)
    expected = F.cross_entropy(model(short[:, :count].long())[0], short[0, 1 : count + 1].long())
    assert tokens == count
    torch.testing.assert_close(loss, expected)


def test_accumulated_windows_of_uneven_length_are_the_big_batch(text: Path) -> None:
    """The gradient of 99 bytes in one batch is that of its windows, each weighted by its own number of bytes."""
    task = Text(path=str(text), **TINY)
    model = task.model().double()
    data = task.data("val")
    batch = torch.stack([data[index] for index in range(len(data))])
    task.loss(model, batch)[0].backward()
    whole = [param.grad.clone() for param in model.parameters() if param.grad is not None]
    model.zero_grad()
    for window in batch.split(2):
        loss, tokens = task.loss(model, window)
        (loss * tokens / 99).backward()
    for param, grad in zip(model.parameters(), whole, strict=True):
        torch.testing.assert_close(param.grad, grad, rtol=1e-9, atol=1e-12)


def test_nothing_looks_ahead(text: Path) -> None:
    model = Text(path=str(text), **TINY).model().eval()
    tokens = torch.randint(256, (2, 16))
    other = tokens.clone()
    other[:, 10:] = 0
    assert torch.equal(model(tokens)[:, :10], model(other)[:, :10])
    assert not torch.equal(model(tokens)[:, 10:], model(other)[:, 10:])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"path": "/dev/null"}, "task.path=/dev/null: that is no file with bytes to go back to; name a file"),
        ({"path": "/no/such/file"}, "task.path=/no/such/file: there is no such file"),
        ({"path": "/"}, "task.path=/: that is a folder; name a file"),
        ({"context": 900}, "has 1000 bytes, and task.context=900 needs 1002 or more"),
        ({"heads": 3}, "task.width must be a multiple of task.heads, and 16 is none of 3"),
        ({"dropout": 1.0}, "task.dropout must be a number from 0 to below 1, not 1.0"),
        ({"layers": 0}, "task.layers must be a whole number from 1, not 0"),
    ],
)
def test_settings_are_checked(text: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Text(**{"path": str(text), **TINY, **settings})


@pytest.mark.parametrize("context", [1, 8, 16, 100])
def test_the_smallest_file_that_is_taken_trains(tmp_path: Path, context: int) -> None:
    path = tmp_path / "tiny"
    path.write_bytes(b"")
    with pytest.raises(ConfigError) as refused:
        Text(path=str(path), **{**TINY, "context": context})
    least = int(str(refused.value).split()[-3])
    path.write_bytes(bytes(least - 1))
    with pytest.raises(ConfigError, match=f"needs {least} or more"):
        Text(path=str(path), **{**TINY, "context": context})
    path.write_bytes(bytes(least))
    task = Text(path=str(path), **{**TINY, "context": context}, watch=(), epochs=1, device="cpu")
    assert len(task.data("train").text) > context
    assert task.fit().metrics["loss"] > 0
