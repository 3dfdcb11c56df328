from __future__ import annotations

import multiprocessing as mp
import os
import signal
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from accel import Trainer
from accel.data.batches.base import Batches
from accel.data.batches.make_batches import make_batches
from accel.data.cache import tensor_cache
from accel.data.datasets.shift_flip import PaddedFrames, ShiftFlip, reflected_indices
from accel.data.loaders import load_all
from accel.data.sampling import sample_rng, sample_words
from accel.errors import AccelWarning, ConfigError, TrainingError
from accel.parts import Parts, Run, Watch
from accel.plugins.resident import Resident
from accel.tasks.images import Images
from accel.testing.toy_run import Stop

CPU = torch.device("cpu")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two classes of noise, 9 and 8 pictures in train and 3 each in test, of several sizes."""
    image = pytest.importorskip("PIL.Image", reason="the pictures need the extra images")
    rng = np.random.default_rng(0)
    for split, cats, dogs in (("train", 9, 8), ("test", 3, 3)):
        for name, count in (("cat", cats), ("dog", dogs)):
            folder = tmp_path / "pictures" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                image.fromarray(rng.integers(256, size=(20 + number, 24, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    return tmp_path / "pictures"


class Points(Dataset[Any]):
    """Samples of (2 numbers, a number), each its own index."""

    def __init__(self, count: int = 11) -> None:
        self.count, self.asked = count, 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        self.asked += 1
        return torch.tensor([index, index]), index


def opened(data: Any, train: bool = True, batch_size: int = 4, seed: int = 5, **settings: Any) -> Batches:
    """The batches that the plugin makes of data."""
    plugin = Resident(**settings)
    model = nn.Linear(1, 1)
    run = Run.__new__(Run)
    run.seed, run.batch_size, run.device, run.unwrapped_model, run.parts = seed, batch_size, CPU, model, Parts()
    plugin.setup(run)
    return plugin.open(data, train)


def flat(batches: Iterator[Any]) -> list[Tensor]:
    return [part for batch in batches for part in (batch if isinstance(batch, list | tuple) else [batch])]


def same(batches: Iterator[Any], others: Iterator[Any]) -> bool:
    return all(a.dtype == b.dtype and torch.equal(a, b) for a, b in zip(flat(batches), flat(others), strict=True))


@pytest.mark.parametrize("crop", ["pad", "none"])
@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("size", [16, 7])  # an eighth of 7 is no pixel to move by
def test_batches_are_those_of_the_plain_loader(pictures: Path, size: int, crop: Any, flip: bool) -> None:
    task = Images(root=str(pictures), size=size, crop=crop, flip=flip)
    for split, train in (("train", True), ("test", False)):
        data = task.data(split)
        resident, plain = opened(data, train), make_batches(data, 4, 5, shuffle=train)
        assert (resident.count, resident.samples) == (plain.count, plain.samples)
        for epoch, start in ((0, 0), (1, 0), (7, 3)):
            assert same(resident.epoch(epoch, start), plain.epoch(epoch, start)), (split, epoch, start)


def test_a_run_ends_with_the_same_bits(pictures: Path) -> None:
    def fit(*plugins: Any) -> Any:
        return Images(root=str(pictures), size=16, plugins=plugins, watch=(), epochs=2, batch_size=4, device="cpu").fit()

    plain, resident = fit(), fit(Resident())
    assert plain.metrics == resident.metrics
    assert all(torch.equal(a, b) for a, b in zip(plain.model.parameters(), resident.model.parameters(), strict=True))


@pytest.mark.slow
def test_resumed_in_the_middle_of_an_epoch_it_ends_with_the_same_bits(pictures: Path, tmp_path: Path) -> None:
    class After(Watch):
        def after(self, step: int, loss: Tensor) -> None:
            if step == 7:
                raise Stop

    def fit(*watches: Any, **settings: Any) -> Any:
        plugins = [Resident(flip="alternate", pad=3, edge="reflect"), *watches]
        return Images(
            root=str(pictures),
            size=16,
            plugins=plugins,
            watch=(),
            epochs=2,
            batch_size=4,
            device="cpu",
            **settings,
        ).fit()

    whole = fit()
    with pytest.raises(Stop):
        fit(After(), out=tmp_path / "run", checkpoint_every=1)
    rest = fit(resume=tmp_path / "run")
    assert whole.metrics == rest.metrics
    assert all(torch.equal(a, b) for a, b in zip(whole.model.parameters(), rest.model.parameters(), strict=True))


@pytest.mark.parametrize("settings", [{"flip": "alternate", "pad": 2, "edge": "reflect"}, {"flip": "random", "pad": 0}, {"pad": 5}])
def test_what_a_sample_looks_like_depends_on_no_batch_and_no_start(pictures: Path, settings: Any) -> None:
    data = Images(root=str(pictures), size=16).data("train")

    def seen(batch_size: int, epoch: int, start: int = 0) -> dict[bytes, None]:
        batches = opened(data, batch_size=batch_size, **settings).epoch(epoch, start)
        return {picture.numpy().tobytes(): None for pictures, _ in batches for picture in pictures}

    assert list(seen(3, 2)) == list(seen(17, 2)), "in the same order, too"
    assert list(seen(3, 2))[9:] == list(seen(3, 2, start=3))
    assert seen(3, 2).keys() != seen(3, 3).keys()


def test_words_are_those_of_each_samples_own_generator() -> None:
    indices = torch.tensor([0, 1, 49_999, 2**40])
    for seed, epoch in ((0, 0), (3, 9), (2**62, 1000)):
        all_words = torch.stack(sample_words(seed, epoch, indices), 1).numpy().view(np.uint64)
        for index, words in zip(indices.tolist(), all_words, strict=True):
            assert (sample_rng(seed, epoch, index).bit_generator.random_raw(4) == words).all()  # type: ignore[attr-defined]


def test_alternate_mirrors_every_other_epoch_and_half_of_them_at_first() -> None:
    indices = torch.arange(2000)
    mirrored = [ShiftFlip(flip="alternate").draw(1, epoch, indices)[2] for epoch in range(4)]
    assert torch.equal(mirrored[0], mirrored[2])
    assert torch.equal(mirrored[1], mirrored[3])
    assert torch.equal(mirrored[0], 1 - mirrored[1])
    assert 0.45 < mirrored[0].float().mean() < 0.55
    assert not torch.equal(mirrored[0], ShiftFlip(flip="alternate").draw(2, 0, indices)[2])


def test_every_place_of_the_window_is_as_likely_as_any() -> None:
    top, left, mirrored = ShiftFlip(pad=2, flip="random").draw(0, 0, torch.arange(50_000))
    counts = torch.bincount((top * 5 + left) * 2 + mirrored, minlength=50)
    assert counts.sum() == 50_000
    assert ((counts - 1000).abs() < 5 * 1000**0.5).all()


@pytest.mark.parametrize("edge", ["black", "reflect"])
def test_a_window_shows_the_picture_moved_and_mirrored(edge: Any) -> None:
    pictures = torch.randint(256, (3, 5, 7, 3), dtype=torch.uint8)
    windows = PaddedFrames(pictures, ShiftFlip(2, "random", edge), CPU)
    framed = nn.functional.pad(pictures.permute(0, 3, 1, 2).float(), (2, 2, 2, 2), "reflect" if edge == "reflect" else "constant")
    for index, top, left, mirrored in [(0, 0, 0, 0), (2, 4, 1, 0), (1, 2, 2, 1), (2, 3, 4, 1), (0, 0, 0, 1)]:
        wanted = framed[index, :, top : top + 5, left : left + 7]
        wanted = (wanted.flip(2) if mirrored else wanted).permute(1, 2, 0).byte()
        place = tuple(torch.tensor([number]) for number in (index, top, left, mirrored))
        assert torch.equal(windows.gather(*place)[0], wanted)  # type: ignore[arg-type]
        windows.lines, kept = None, windows.lines
        assert torch.equal(windows.gather(*place)[0], wanted), "as a GPU takes it"  # type: ignore[arg-type]
        windows.lines = kept


def test_reflected_is_as_torch_pads() -> None:
    line = torch.arange(6.0).view(1, 1, 6)
    assert torch.equal(reflected_indices(6, 5).float(), nn.functional.pad(line, (5, 5), "reflect")[0, 0])


def test_tensors_are_kept_as_they_are() -> None:
    data = TensorDataset(torch.randn(10, 3), torch.arange(10))
    resident, plain = opened(data), make_batches(data, 4, 5, shuffle=True)
    assert isinstance(next(resident.epoch(0)), tuple)
    assert same(resident.epoch(1, 1), plain.epoch(1, 1))


Pair = namedtuple("Pair", "x y")


FORMS = {"tuple": tuple, "list": list, "named": lambda pair: Pair(*pair), "one": lambda pair: pair[0]}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_batches_have_the_form_of_collated_samples(form: Any) -> None:
    class Formed(Points):
        def __getitem__(self, index: int) -> Any:
            return form(super().__getitem__(index))

    data = Formed()
    resident, plain = opened(data), make_batches(data, 4, 5, shuffle=True)
    assert type(next(resident.epoch(0))) is type(next(plain.epoch(0)))
    assert same(resident.epoch(2), plain.epoch(2))


def test_every_sample_is_read_once() -> None:
    data = Points(1000)
    resident = opened(data)
    asked = data.asked
    assert asked == 1001, "and the first once more, to know its shape"
    for epoch in range(3):
        assert sum(len(x) for x, _ in resident.epoch(epoch)) == 1000
    assert data.asked == asked


def test_a_data_set_that_draws_and_does_not_say_what_is_refused() -> None:
    class Noisy(Points):
        def sample(self, index: int, rng: np.random.Generator) -> Any:
            return self[index]

    with pytest.raises(ConfigError, match=r"resident cannot know what Noisy.sample\(index, rng\) draws; define Noisy.moves\(\)"):
        opened(Noisy())


def test_boxes_cut_out_of_the_whole_picture_are_refused(pictures: Path) -> None:
    with pytest.raises(ConfigError, match=r"set task\.crop=pad"):
        opened(Images(root=str(pictures), crop="resized").data("train"))


class Stream(IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        return iter(range(3))


class Uneven(Points):
    def __getitem__(self, index: int) -> Any:
        return torch.zeros(1 + index // 300)


class Words(Points):
    def __getitem__(self, index: int) -> Any:
        return {"a": 1}


class Own(Points):
    def collate(self, samples: Any) -> Any:
        return samples


@pytest.mark.parametrize(
    ("data", "settings", "says"),
    [
        ([torch.zeros(2, 1)], {}, "the data is ready batches; pass the data set itself"),
        (Stream(), {}, "the data is a stream of samples"),
        (Uneven(600), {}, "samples of one shape, and the data has others"),
        (Uneven(500), {}, "samples of one shape, and the data has others"),
        (Words(), {}, "a batch of the data is a dict"),
        (Own(), {}, "Own has a collate of its own"),
        (Points(), {"flip": "random"}, r"need pictures of \(height, width, 1 to 4 channels\), and the data is \(2,\)"),
        (TensorDataset(torch.zeros(4, 3, 3, 1)), {"pad": 3, "edge": "reflect"}, "needs a pad below the pictures' side, not 3"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_kept_is_refused_in_a_sentence(data: Any, settings: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        opened(data, **settings)


def test_more_than_there_is_room_for_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accel.data.loaders.load_all.free_memory", lambda device: 1000)
    data = Points(10_000)
    with pytest.raises(ConfigError, match=r"resident: the data takes 0.0 GB, and cpu has 0.0 GB free"):
        opened(data)
    assert data.asked == 1


def test_a_picture_that_cannot_be_decoded_is_named(pictures: Path) -> None:
    (pictures / "train/cat/3.png").write_bytes(b"no picture")
    with pytest.raises(ConfigError, match=r"3\.png"):
        opened(Images(root=str(pictures), size=16).data("train"))


def test_the_cache_gives_the_same_and_reads_no_picture(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = Images(root=str(pictures), size=16).data("train")
    first = flat(opened(data, cache=str(tmp_path / "cache")).epoch(3))
    (file,) = (tmp_path / "cache").iterdir()
    kept = Path(data.files[-1]).read_bytes()
    monkeypatch.setattr("accel.data.loaders.load_all.load_samples", lambda data, example: pytest.fail("the pictures were read"))
    again = flat(opened(data, cache=str(tmp_path / "cache")).epoch(3))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))

    monkeypatch.undo()
    Path(data.files[-1]).write_bytes(kept + b" ")
    opened(data, cache=str(tmp_path / "cache"))
    assert len(list((tmp_path / "cache").iterdir())) == 2, "a file that changed is read"
    file.write_bytes(file.read_bytes()[:-100])
    Path(data.files[-1]).write_bytes(kept)
    assert same(iter(first), opened(data, cache=str(tmp_path / "cache")).epoch(3)), "half a file is no cache"


def test_a_cache_that_cannot_be_written_is_a_warning(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.warns(AccelWarning, match="resident.cache: .* cannot be written"):
        opened(Images(root=str(pictures), size=16).data("train"), cache=str(tmp_path / "file"))


def test_the_plan_says_what_was_kept_and_what_has_no_effect() -> None:
    class Keep(Watch):
        def begin(self, run: Run) -> None:
            self.facts = run.plan.facts

    def fit(data: Any, **settings: Any) -> dict[str, str]:
        keep = Keep()
        plugins = [Resident(**settings), keep]
        Trainer(nn.Linear(12, 2), data, loss=lambda m, b: m(b[0].float().flatten(1)).mean(), plugins=plugins, watch=()).fit()
        return keep.facts

    pictures = TensorDataset(torch.zeros(9, 2, 2, 3, dtype=torch.uint8))
    facts = fit(pictures, pad=1, flip="alternate", edge="reflect")
    assert facts["pictures"] == "moved by up to 1 pixel, reflected at the edge; mirrored: alternate"
    assert facts["resident"] == "1 kB on this machine"
    with pytest.warns(AccelWarning) as actual:
        fit(pictures, edge="reflect", cache="auto")
    assert [str(warning.message).partition(":")[0] for warning in actual] == [
        "resident.edge has no effect", "resident.cache has no effect"
    ]  # fmt: skip


class Many(Points):
    """Its samples say by which process they are read."""

    def __init__(self, bad: int = -1, trouble: str = "") -> None:
        super().__init__(1000)
        self.bad, self.trouble = bad, trouble

    def __getitem__(self, index: int) -> Any:
        if index == self.bad and self.trouble == "raise":
            raise ConfigError("cannot read the picture seven")
        if index == self.bad and self.trouble == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.tensor([index, index]), index, os.getpid()


@pytest.mark.slow
def test_all_cores_read_where_it_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accel.data.loaders.load_all.PROCESSES_PAY", 0)
    monkeypatch.setattr("accel.data.loaders.load_all.cores", lambda: 3)
    (twos, ones, who), bad, sentence = load_all.load_samples(Many(), load_all.first_sample(Many())[0])
    assert torch.equal(twos, torch.arange(1000)[:, None].expand(-1, 2))
    assert torch.equal(ones, torch.arange(1000))
    assert (bad, sentence) == ([], "3 processes")
    assert len(who.unique()) == 4, "the first samples are read here, and tell how long it takes"
    assert mp.active_children() == []
    with pytest.raises(ConfigError, match="cannot read the picture seven"):
        load_all.load_samples(Many(700, "raise"), load_all.first_sample(Many())[0])
    with pytest.raises(TrainingError, match=r"a process that read the data was killed by SIGKILL \(out of memory"):
        load_all.load_samples(Many(700, "die"), load_all.first_sample(Many())[0])
    assert mp.active_children() == []


class Noisy(Points):
    """One of its samples draws, or each is another whenever it is read."""

    def __init__(self, drawing: int | None) -> None:
        super().__init__(1000)
        self.drawing, self.rng = drawing, np.random.default_rng()

    def __getitem__(self, index: int) -> Any:
        if self.drawing is None:
            return torch.full((2,), float(np.random.default_rng().random()))
        return torch.full((2,), float(self.rng.random()) if index == self.drawing else float(index))


@pytest.mark.parametrize("drawing", [0, 1, 255, 256, 999, None])
@pytest.mark.parametrize("processes", [True, False])
def test_what_draws_is_read_by_the_plain_loader_with_a_warning(
    drawing: int | None, processes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accel.data.loaders.load_all.PROCESSES_PAY", 0 if processes else 1e9)
    monkeypatch.setattr("accel.data.loaders.load_all.cores", lambda: 2)
    data, seen = Noisy(drawing), list[Any]()

    def loss(model: torch.nn.Module, batch: Any) -> Any:
        seen.append(batch)
        return model(batch).mean()

    with pytest.warns(AccelWarning, match="resident has no effect on the training data, whose samples draw random numbers"):
        Trainer(
            torch.nn.Linear(2, 1), data, loss=loss, plugins=["resident"], watch=(), device="cpu", batch_size=100, epochs=2
        ).fit()  # fmt: skip
    if drawing is not None:
        plain = make_batches(Noisy(drawing), 100, seed=0, shuffle=True)
        assert all(map(torch.equal, seen, [*plain.epoch(0), *plain.epoch(1)]))


def test_a_cache_of_something_else_is_not_taken(tmp_path: Path) -> None:
    file, tensors = tmp_path / "a", [torch.arange(6).view(3, 2), torch.ones(3)]
    tensor_cache.save(file, "x", tensors)
    actual = tensor_cache.load(file, "x", tensors)
    assert actual is not None
    assert all(map(torch.equal, actual, tensors))
    assert tensor_cache.load(file, "y", tensors) is None, "it says what it is of, whatever it is called"
    assert tensor_cache.load(file, "x", tensors[:1]) is None
    assert tensor_cache.load(file, "x", [tensors[0], torch.ones(4)]) is None
    assert tensor_cache.load(file, "x", [tensors[0].float(), tensors[1]]) is None
    whole_file = bytearray(file.read_bytes())
    whole_file[-1] ^= 1
    file.write_bytes(whole_file)
    assert tensor_cache.load(file, "x", tensors) is None, "a bit of it has changed"


def test_a_file_in_the_place_of_another_is_another(pictures: Path) -> None:
    data = Images(root=str(pictures), size=16).data("train")
    before, file = data.fingerprint(), Path(data.files[0])
    was = file.stat()
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert file.stat().st_size == was.st_size
    assert data.fingerprint() != before
