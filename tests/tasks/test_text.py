from __future__ import annotations

from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from accel.data.batches.make_batches import make_batches
from accel.data.datasets.token_windows import PADDING, JitteredTokenWindows, TokenWindows
from accel.data.loaders.ring import Ring
from accel.engine.loading.task_record import TaskRecord
from accel.errors import BadSample, ConfigError
from accel.tasks.text import Text
from tests.support.sample_datasets import md5

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
    windows = TokenWindows(text, context=16)
    targets = torch.cat([windows[index][1:] for index in range(len(windows))])
    assert targets[targets != PADDING].tolist() == list(range(1, length))


@pytest.mark.parametrize("length", [2, 17, 100])
def test_a_moved_window_stays_inside_and_has_a_target(length: int) -> None:
    text = np.arange(length, dtype=np.uint8)
    windows = JitteredTokenWindows(text, context=16)
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


def write(tokens: NDArray[Any], path: Path) -> Path:
    np.save(path, tokens) if path.suffix == ".npy" else tokens.tofile(path)
    return path


@pytest.mark.parametrize("name", ["tokens.npy", "tokens.bin"])
@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
def test_tokens_of_a_file(tmp_path: Path, name: str, dtype: str) -> None:
    tokens = np.random.default_rng(0).integers(60_000, size=1000).astype(dtype)
    path = write(tokens, tmp_path / name)
    task = Text(path=str(path), **TINY, **({} if name.endswith("npy") else {"tokens": dtype}))
    assert isinstance(task.text, np.memmap)
    assert task.vocabulary == tokens.max() + 1
    assert task.model().tokens.num_embeddings == task.vocabulary
    data = task.data("val")
    windows = torch.stack([data[index] for index in range(len(data))])
    assert windows[:, 1:].flatten()[:99].tolist() == tokens[901:].tolist()
    assert windows.dtype == torch.int32
    assert (windows[:, 1:].flatten()[99:] == PADDING).all()


def test_the_same_numbers_are_the_same_run_in_any_file(tmp_path: Path) -> None:
    """Bytes too, but for the size of the vocabulary, which is given here."""
    tokens = np.random.default_rng(0).integers(200, size=900)
    actual = []
    for name, dtype, kind in (("a", "uint8", "bytes"), ("b.bin", "uint16", "uint16"), ("c.npy", "int64", "auto")):
        path = write(tokens.astype(dtype), tmp_path / name)
        result = Text(path=str(path), **TINY, tokens=kind, vocabulary=256, watch=(), batch_size=8, device="cpu").fit()
        actual.append((result.metrics["loss"], [param.tolist() for param in result.model.parameters()]))
        assert (f"bits_per_{'byte' if dtype == 'uint8' else 'token'}") in result.metrics
    assert actual[0] == actual[1] == actual[2]


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_the_ring_gives_the_batches_of_the_plain_loader(tmp_path: Path, split: str, dtype: str) -> None:
    """Written straight into its memory, for any number of threads; another order in every epoch."""
    path = write(np.random.default_rng(0).integers(200, size=5000).astype(dtype), tmp_path / "tokens.npy")
    data = Text(path=str(path), **TINY).data(split)
    plain = make_batches(data, 4, seed=3, shuffle=split == "train")
    expected = [md5(plain.epoch(epoch)) for epoch in range(3)]
    for threads in (1, 3):
        with Ring(data, 4, seed=3, shuffle=split == "train", threads=threads) as ring:
            assert ring.pool is not None, "nothing is collated"
            assert [md5(ring.epoch(epoch)) for epoch in range(3)] == expected
    assert (expected[0] != expected[1]) == (split == "train")


def test_a_token_above_the_vocabulary_is_named(tmp_path: Path) -> None:
    path = write(np.arange(1000, dtype=np.uint16), tmp_path / "tokens.bin")
    data = Text(path=str(path), **TINY, tokens="uint16", vocabulary=950).data("val")
    data[2]
    with pytest.raises(ConfigError, match=r"the token 964, behind number 48, is not below task.vocabulary=950; make that larger"):
        data[3]


def odd_length(path: Path) -> dict[str, Any]:
    path.write_bytes(bytes(1001))
    return {"tokens": "uint16"}


def unsaid(path: Path) -> dict[str, Any]:
    path.write_bytes(bytes(1000))
    return {}


def negative(path: Path) -> dict[str, Any]:
    return {"path": str(write(np.full(1000, -1), path.with_suffix(".npy")))}


def too_large(path: Path) -> dict[str, Any]:
    write(np.full(1000, 1 << 30, np.uint32), path)
    return {"tokens": "uint32"}


def floats(path: Path) -> dict[str, Any]:
    return {"path": str(write(np.zeros((3, 4)), path.with_suffix(".npy")))}


def cut_short(path: Path) -> dict[str, Any]:
    whole = write(np.zeros(1000, np.uint16), path.with_suffix(".npy"))
    whole.write_bytes(whole.read_bytes()[:-4])
    return {"path": str(whole)}


def few(path: Path) -> dict[str, Any]:
    write(np.zeros(10, np.uint16), path)
    return {"tokens": "uint16"}


def empty(path: Path) -> dict[str, Any]:
    path.write_bytes(b"")
    return {"tokens": "uint16"}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (odd_length, "has 1,001 bytes, which is no whole number of uint16; it is cut short, or no such file"),
        (unsaid, "tokens.bin may hold tokens or bytes; say which: task.tokens=uint16, uint32 or bytes"),
        (negative, "holds the number -1, which is no token"),
        (too_large, "holds the number 1073741824, which is no token; see task.tokens"),
        (floats, r"holds an array of shape \(3, 4\) float64; a row of whole numbers is wanted"),
        (cut_short, "is no .npy file that can be mapped: mmap length is greater than file size"),
        (few, "has 10 tokens, and task.context=16 needs 20 or more"),
        (empty, "has 0 tokens, and task.context=16 needs 20 or more"),
    ],
)
def test_what_is_no_token_file(tmp_path: Path, make: Any, message: str) -> None:
    path = tmp_path / "tokens.bin"
    settings = {"path": str(path), **make(path)}
    with pytest.raises(ConfigError, match=message):
        Text(**TINY, **settings)


class Counting(torch.nn.Module):
    """Knows that after a byte comes the next one, if it has seen the one before it too."""

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        before = torch.nn.functional.pad(tokens, (1, 0))[:, :-1]
        following = torch.where((tokens == before + 1) | (before == 0), tokens + 1, 0)
        return torch.nn.functional.one_hot(following % 256, 256).float()


def test_a_text_is_gone_on_with_byte_by_byte(tmp_path: Path, text: Path) -> None:
    task = Text(path=str(text), context=8, layers=1, heads=1, width=8, watch=())
    text.unlink()
    loaded = TaskRecord.of(task).make()
    samples = []
    for name, content in (("short", b'!"'), ("long", b"xyz&'()*+,-./01")):
        (tmp_path / name).write_bytes(content)
        samples.append(loaded.sample_of(str(tmp_path / name)))
    assert samples[0][0].shape == samples[1][0].shape == (8,)
    rows = loaded.predict(Counting(), torch.utils.data.default_collate(samples))
    expected = [bytes(range(first, first + 32)).decode() for first in (ord("#"), ord("2"))]
    assert [row["continuation"] for row in rows] == expected
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(BadSample, match="empty is empty; there is nothing to go on from"):
        loaded.sample_of(str(tmp_path / "empty"))
    with pytest.raises(BadSample, match=r"nowhere: there is no such file"):
        loaded.sample_of(str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="the text has no split test; there is val"):
        task.data("test")


def test_a_text_of_tokens_is_read_as_that_of_the_run(tmp_path: Path) -> None:
    np.save(tmp_path / "run.npy", np.arange(300, dtype=np.uint16) % 40)
    task = TaskRecord.of(Text(path=str(tmp_path / "run.npy"), context=8, layers=1, heads=1, width=8, watch=())).make()
    np.save(tmp_path / "more.npy", np.array([3, 5, 39], np.uint16))
    tokens, length = task.sample_of(str(tmp_path / "more.npy"))
    assert (tokens.tolist(), length) == ([3, 5, 39, 0, 0, 0, 0, 0], 3)
    np.save(tmp_path / "odd.npy", np.array([40], np.uint16))
    with pytest.raises(BadSample, match="has a token that is none of the 40 of the run"):
        task.sample_of(str(tmp_path / "odd.npy"))
    (tmp_path / "plain.txt").write_text("text")
    with pytest.raises(BadSample, match=r"is no .npy file of tokens, as that of the run is"):
        task.sample_of(str(tmp_path / "plain.txt"))
