"""A sample that cannot be read has one fate, whoever reads it: a function of (seed, epoch, index)."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from accel import Trainer
from accel.data.batches.bad_samples import BadSampleRule
from accel.data.batches.make_batches import make_batches
from accel.data.batches.mapped import MapBatches
from accel.data.batches.rank_share import SINGLE_RANK, RankShare
from accel.data.datasets.image_folder import AugmentedFolder
from accel.data.loaders.ring import Ring
from accel.data.loaders.thread_pool import ThreadPool as Pool
from accel.data.loaders.worker_pool import WorkerPool as Processes
from accel.errors import AccelWarning, BadSample, ConfigError, TrainingError
from accel.parts import Part, Parts, Run
from accel.plugins.prefetch import Prefetch
from accel.plugins.resident import Resident
from accel.plugins.threads import Threads
from accel.plugins.workers import Workers
from accel.testing.toy_run import Spy, Stop
from tests.support.drawn_images import drawing, jpeg
from tests.support.sample_datasets import SAMPLES, Drawn, Filled, Padded, Plain, md5

SPOILT = frozenset({3, 8, 9, 17})
POLICIES: Any = pytest.mark.parametrize("policy", ["skip", "substitute"])


def spoil(kind: type, bad: frozenset[int] = SPOILT) -> Any:
    """The data set `kind`, without some of its samples."""

    class Spoilt(kind):  # type: ignore[misc]
        def sample(self, index: int, rng: Any) -> Any:
            if index in bad:
                raise BadSample(f"cannot read number {index}; mend it")
            return super().sample(index, rng)

        def __getitem__(self, index: int) -> Any:
            if index in bad:
                raise OSError(f"cannot read number {index}")
            return super().__getitem__(index)

        def fill(self, index: int, rng: Any, out: NDArray[Any]) -> Any:
            out[...] = -1  # a reader that fails has written something by then
            if index in bad:
                raise KeyError(index)
            return super().fill(index, rng, out)

    for name in ("sample", "__getitem__", "fill"):
        if not hasattr(kind, name) or (name == "__getitem__" and kind is not Plain):
            delattr(Spoilt, name)
    return Spoilt()


KINDS = [Filled, Drawn, Plain, Padded]
SHARES = [SINGLE_RANK, RankShare(0, 2), RankShare(1, 2)]


def over(
    kind: type, policy: Any, bad: frozenset[int] = SPOILT, limit: float = 1.0, train: bool = True, share: RankShare = SINGLE_RANK
) -> MapBatches:
    rule = BadSampleRule(policy, limit).for_dataset("train", train)
    batches = make_batches(spoil(kind, bad), 4, seed=3, shuffle=train, share=share, bad=rule)
    assert isinstance(batches, MapBatches)
    return batches


@POLICIES
@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_loader_gives_the_same_batches_and_counts(kind: type, share: RankShare, policy: Any) -> None:
    plain = over(kind, policy, share=share)
    wanted = [md5(plain.epoch(epoch)) for epoch in (0, 1)]
    assert wanted[0] != md5(make_batches(kind(), 4, seed=3, shuffle=True, share=share).epoch(0))
    assert set(plain.bad_sample_log.reasons) <= SPOILT
    assert set(plain.bad_sample_log.reasons) == SPOILT or share.ranks > 1
    for threads in (1, 3):
        batches, pool = over(kind, policy, share=share), Pool(threads)
        with Ring.from_batches(batches, pool, 3, False) as ring:
            assert [md5(ring.epoch(epoch)) for epoch in (0, 1)] == wanted
            assert md5(ring.epoch(1, start=2)) == wanted[1][2:]
            assert ring.bad == plain.bad_sample_log.reasons
            assert batches.meter.samples == plain.meter.samples + sum(map(len, list(plain.batches_of_indices(1))[2:]))
    for count in (1, 3):
        batches = over(kind, policy, share=share)
        workers = Processes([batches], count, prefetch=2, timeout=60)
        assert [slots is not None for slots in workers.pools] == [kind is Filled], "written into shared memory"
        assert [md5(workers.batches(0, epoch, 0)) for epoch in (0, 1)] == wanted
        assert md5(workers.batches(0, 1, 2)) == wanted[1][2:]
        assert batches.bad_sample_log.reasons == plain.bad_sample_log.reasons
        assert batches.meter.samples == plain.meter.samples + sum(map(len, list(plain.batches_of_indices(1))[2:]))
        workers.close()


def read(batches: Iterator[Any]) -> list[str]:
    """Of each batch, and of the error that comes after them."""
    found: list[str] = []
    try:
        for batch in batches:
            found += md5([batch])
    except (BadSample, TrainingError, OSError, KeyError) as error:
        found.append(f"{type(error).__name__}: {error}")
    return found


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("kind", KINDS)
def test_raise_is_the_same_up_to_the_batch_of_the_first_by_every_loader(kind: type, share: RankShare) -> None:
    wanted = read(over(kind, "raise", share=share).epoch(0))
    assert wanted[-1].startswith(("BadSample", "OSError", "KeyError"))
    for threads in (1, 3):
        with Ring.from_batches(over(kind, "raise", share=share), Pool(threads), 3, False) as ring:
            assert read(ring.epoch(0)) == wanted
    for count in (1, 3):
        workers = Processes([over(kind, "raise", share=share)], count, prefetch=2, timeout=60)
        assert read(workers.batches(0, 0, 0)) == wanted
        workers.close()


class Stuck(Filled):
    """Sample 9 hangs, or kills its process, once, after it is half written; some others are bad."""

    def __init__(self, once: Path, trouble: str) -> None:
        self.once, self.trouble = once, trouble

    def fill(self, index: int, rng: Any, out: NDArray[Any]) -> int:
        out[...] = -1
        if index == 9 and self.trouble and not self.once.exists():
            self.once.touch()
            os.kill(os.getpid(), signal.SIGKILL if self.trouble == "die" else signal.SIGSTOP)
        if index in (3, 8, 17):
            raise KeyError(index)
        return super().fill(index, rng, out)


@POLICIES
@pytest.mark.parametrize("trouble", ["hang", "die"])
def test_a_worker_that_hangs_or_dies_while_it_writes_harms_no_batch(trouble: str, policy: Any, tmp_path: Path) -> None:
    def over(trouble: str) -> Any:
        return make_batches(Stuck(tmp_path / "once", trouble), 4, seed=3, shuffle=True, bad=BadSampleRule(policy, 1.0))

    plain, batches = over(""), over(trouble)
    wanted = [md5(plain.epoch(epoch)) for epoch in (0, 1)]
    workers = Processes([batches], 2, prefetch=2, timeout=0.8)
    with pytest.warns(AccelWarning, match=r"over sample 9 \(batch \d of epoch 1\); begun anew"):
        held = list(workers.batches(0, 0, 0))
    assert md5(held) == wanted[0]
    assert md5(workers.batches(0, 1, 0)) == wanted[1]
    assert md5(held) == wanted[0], "nor later, while it is held"
    assert batches.bad_sample_log.reasons == plain.bad_sample_log.reasons
    workers.close()


@POLICIES
def test_the_slot_of_a_batch_that_is_smaller_or_gone_comes_back_from_workers(policy: Any) -> None:
    bad = frozenset({*range(4, 8), 22})
    batches = over(Filled, policy, bad, train=False)
    workers = Processes([batches], 2, prefetch=2, timeout=60)
    (slots,) = workers.pools
    assert slots is not None
    for epoch in range(4):
        for x, _ in workers.batches(0, epoch, 0):
            assert x.is_contiguous()
            assert (x >= 0).all(), "no row of a sample that failed"
    del x
    assert slots.allocated <= 2 * 2 + 1, "those asked for, and the one that is used"
    assert len(slots.free) == slots.allocated
    workers.close()


def test_skip_leaves_them_out_and_changes_no_other() -> None:
    whole = {float(x[0, 0]): x for batch, _ in make_batches(Drawn(), 4, seed=3, shuffle=True).epoch(2) for x in batch}
    shown = [x for batch, _ in over(Drawn, "skip").epoch(2) for x in batch]
    assert len(shown) == SAMPLES - len(SPOILT)
    assert all(torch.equal(whole[float(x[0, 0])], x) for x in shown)
    assert not SPOILT & {int(x[0, 0]) for x in shown}
    labels = [int(y) for _, ys in over(Drawn, "skip").epoch(2) for y in ys]
    assert labels == [int(x[0, 0]) % 2 for x in shown]


def test_a_substitute_is_shown_as_it_is_itself() -> None:
    """With its own random numbers of this epoch, so what stands for a sample is one of the others, to the bit."""
    good = make_batches(Drawn(), 1, seed=3, shuffle=True)
    with_bad = make_batches(spoil(Drawn), 1, seed=3, shuffle=True, bad=BadSampleRule("substitute", 1.0))
    drawn: list[dict[int, int]] = [{}, {}]
    for epoch in (0, 1):
        of = {int(x[0, 0, 0]): x for x, _ in good.epoch(epoch)}
        for (wanted, _), (shown, label) in zip(good.epoch(epoch), with_bad.epoch(epoch), strict=True):
            index, other = int(wanted[0, 0, 0]), int(shown[0, 0, 0])
            assert (other == index) == (index not in SPOILT)
            assert torch.equal(shown, of[other])
            assert int(label) == other % 2
            drawn[epoch] |= {index: other} if index in SPOILT else {}
    assert len(set(drawn[0].values())) > 1
    assert drawn[0] != drawn[1], "another one in every epoch"


@POLICIES
def test_a_batch_of_which_nothing_is_left(policy: Any) -> None:
    """In training it consists of others, so that every epoch has all of its batches; evaluation is without it."""
    bad = frozenset({*range(4, 8), 22})
    for kind in (Filled, Drawn):
        rule = BadSampleRule(policy, 1.0)
        train, held_out = make_batches(spoil(kind, bad), 4, 3, False, bad=rule), over(kind, policy, bad, train=False)
        assert [len(x) for x, _ in train.epoch(0)] == [4, 4, 4, 4, 4, 2 if policy == "skip" else 3]
        assert [len(x) for x, _ in held_out.epoch(0)] == [4, 4, 4, 4, 2]
        with Ring.from_batches(held_out, Pool(2), 2, False) as ring:
            assert md5(ring.epoch(0)) == md5(held_out.epoch(0))
        workers = Processes([train, held_out], 2, prefetch=1, timeout=60)  # type: ignore[list-item]
        for which, batches in enumerate([train, held_out]):
            assert md5(workers.batches(which, 0, 0)) == md5(batches.epoch(0))
        workers.close()


def test_rows_move_up_in_their_slot_and_the_slot_comes_back() -> None:
    with Ring(spoil(Filled), 4, seed=3, shuffle=True, threads=2, depth=1, bad="skip", bad_limit=1.0) as ring:
        assert ring.pool is not None
        for epoch in range(4):
            for x, _ in ring.epoch(epoch):
                assert x.is_contiguous()
                assert (x >= 0).all(), "no row of a sample that failed"
        assert ring.pool.allocated <= 4, "depth + 2, and one that a thread still holds"


@pytest.mark.parametrize("kind", [Filled, Drawn])
def test_too_many_end_the_run_with_their_number_and_the_first_few(kind: type) -> None:
    says = r"3 of 23 train samples cannot be read, which is above bad_limit=0.1: sample \d+: .* \| sample .*; mend them, take"

    def read(batches: Iterator[Any]) -> int:
        found: list[Any] = []
        with pytest.raises(TrainingError, match=says):
            found.extend(batches)
        return len(found)

    plain = read(over(kind, "skip", limit=0.1).epoch(0))
    workers = Processes([over(kind, "skip", limit=0.1)], 2, prefetch=2, timeout=60)
    assert read(workers.batches(0, 0, 0)) == plain
    workers.close()
    pool = Pool(2)
    assert read(Ring.from_batches(over(kind, "skip", limit=0.1), pool, 3, False).epoch(0)) == plain, "at the same batch"
    pool.close()
    list(over(kind, "skip", limit=4 / 23).epoch(0))


def test_nothing_to_put_in_its_place() -> None:
    with pytest.raises(TrainingError, match=r"train sample \d+ cannot be read, nor any of 16 drawn in its place .*mend the data"):
        list(over(Drawn, "substitute", frozenset(range(SAMPLES))).epoch(0))


class Broken(Drawn):
    """Nothing is wrong with a sample."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def sample(self, index: int, rng: Any) -> Any:
        raise self.error


@pytest.mark.parametrize(
    "error", [ConfigError("no such package"), MemoryError(), OSError(24, "too many open files"), TrainingError("x")]
)
def test_what_is_no_fault_of_a_sample_is_never_passed_over(error: Exception) -> None:
    batches = make_batches(Broken(error), 4, bad=BadSampleRule("skip", 1.0))
    with pytest.raises(type(error)):
        list(batches.epoch(0))


def test_raise_is_the_error_itself() -> None:
    with pytest.raises(KeyError):
        list(over(Filled, "raise").epoch(0))
    with pytest.raises(BadSample, match="cannot read number"):
        list(over(Drawn, "raise").epoch(0))


class Bytes(Dataset[tuple[Tensor, int]]):
    """Pictures in memory, the same in every epoch, some of them bad."""

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if index in SPOILT:
            raise ValueError(f"number {index}")
        return torch.full((2, 3), index, dtype=torch.uint8), index % 2


def resident(rule: BadSampleRule, share: RankShare = SINGLE_RANK, **settings: Any) -> Resident:
    loader = Resident(**settings)
    run = Run.__new__(Run)
    run.parts, run.seed, run.batch_size, run.evaluation_split, run.bad_samples = Parts(), 3, 4, "val", rule
    run.device, run.unwrapped_model = torch.device("cpu"), nn.Linear(1, 1)
    loader.setup(run)
    loader.share = share
    return loader


@POLICIES
@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("train", [True, False])
def test_resident_gives_the_plain_loaders_batches(policy: Any, train: bool, share: RankShare) -> None:
    class Firsts(Bytes):
        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            if index in range(4):
                raise ValueError("among the first, too")
            return super().__getitem__(index)

    for kind in (Bytes, Firsts):
        rule = BadSampleRule(policy, 1.0)
        plain = make_batches(kind(), 4, 3, train, share, bad=rule.for_dataset("train" if train else "val", train))
        shelf = resident(rule, share).open(kind(), train)
        if kind is Firsts and not train and share == SHARES[1]:
            with pytest.raises(TrainingError, match=r"of a batch of the val data no sample can be read .* several ranks"):
                list(plain.epoch(0))
            with pytest.raises(TrainingError, match=r"of a batch of the val data no sample can be read .* several ranks"):
                list(shelf.epoch(0))
            continue
        for epoch in (0, 1):
            assert md5(shelf.epoch(epoch)) == md5(plain.epoch(epoch))
        assert md5(shelf.epoch(1, 2)) == md5(plain.epoch(1, 2))
        assert shelf.bad_sample_log is not None
        assert plain.bad_sample_log is not None
        assert set(shelf.bad_sample_log.reasons) >= set(plain.bad_sample_log.reasons)
        assert shelf.bad_sample_log.reasons == plain.bad_sample_log.reasons or share.ranks > 1, (
            "it reads those of the other rank, too"
        )


class Numbers(Bytes):
    """A few of which are bad, in each chunk that a thread or a process reads; it says by which process it is read."""

    def __len__(self) -> int:
        return 1000

    def fingerprint(self) -> str:
        return "numbers"

    def __getitem__(self, index: int) -> Any:
        if index % 100 == 7:
            raise ValueError(f"number {index}")
        return torch.full((2, 3), index % 256, dtype=torch.uint8), index


@POLICIES
@pytest.mark.parametrize("who", ["3 processes", "3 threads", "this process"])
def test_whoever_reads_for_resident_names_the_bad_ones(
    policy: Any, who: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accel.data.loaders.load_all.PROCESSES_PAY", 0 if who == "3 processes" else 1e9)
    monkeypatch.setattr("accel.data.loaders.load_all.cores", lambda: 1 if who == "this process" else 3)
    rule = BadSampleRule(policy, 1.0)
    loader = resident(rule, cache=str(tmp_path))
    plain, shelf = make_batches(Numbers(), 4, 3, True, bad=rule), loader.open(Numbers(), True)
    assert md5(shelf.epoch(1)) == md5(plain.epoch(1))
    assert shelf.bad_sample_log is not None
    assert plain.bad_sample_log is not None
    assert list(shelf.bad_sample_log.reasons) == sorted(plain.bad_sample_log.reasons) == list(range(7, 1000, 100))
    assert shelf.bad_sample_log.reasons == plain.bad_sample_log.reasons, "with the reason"
    assert loader.plan_notes()["read"].endswith(f" s by {who}")
    assert loader.cache_notes == ["not kept, as some of it could not be read"]
    assert list(tmp_path.iterdir()) == []


@POLICIES
def test_resident_moves_a_substitute_as_itself(policy: Any, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(9):
            (tmp_path / name / f"{number}.jpg").write_bytes(jpeg(drawing(20, 16, seed=number), "4:4:4"))
    for bad in ("a/2.jpg", "b/0.jpg", "b/5.jpg"):
        (tmp_path / bad).write_bytes(b"")
    data = AugmentedFolder(tmp_path, ["a", "b"], 16, "pad", True)
    rule = BadSampleRule(policy, 1.0)
    plain, shelf = make_batches(data, 4, 3, True, bad=rule), resident(rule).open(data, True)
    for epoch in (0, 1):
        assert md5(shelf.epoch(epoch)) == md5(plain.epoch(epoch))


LOADERS: dict[str, Callable[[], list[Part]]] = {
    "plain": list,
    "workers": lambda: [Workers(count=2), Prefetch()],
    "threads": lambda: [Threads(count=2), Prefetch(depth=4)],
    "resident": lambda: [Resident()],
}


def train(policy: str, plugins: list[Part], data: Any = Bytes, limit: float = 0.2, stop: int = 0, **more: Any) -> Any:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.Dropout(0.5), nn.Linear(4, 2))
    return Trainer(
        model, data(), data(), lambda model, batch: nn.functional.cross_entropy(model(batch[0] / 23), batch[1]),
        plugins=[Spy(stop=stop), *plugins], watch=(), epochs=2, batch_size=4, seed=1, bad_data=policy, bad_limit=limit, **more,
    ).fit()  # fmt: skip


@POLICIES
def test_a_run_is_the_same_by_every_loader_and_goes_on_where_it_was(policy: str, tmp_path: Path) -> None:
    whole = train(policy, [])
    assert whole.samples == 2 * (SAMPLES - (len(SPOILT) if policy == "skip" else 0))
    assert whole.bad == {"train": 4, "val": 4}
    for name, plugins in LOADERS.items():
        out = tmp_path / name
        with pytest.raises(Stop):
            train(policy, plugins(), stop=8, out=out, checkpoint_every=1)
        rest = train(policy, plugins(), resume=out)
        assert all(map(torch.equal, whole.model.state_dict().values(), rest.model.state_dict().values())), name
        assert (rest.history, rest.bad, rest.samples) == (whole.history, whole.bad, whole.samples), name
        section = json.loads((out / "summary.json").read_text())["sections"]["bad_data"]
        done = "left out" if policy == "skip" else "replaced by others"
        assert section["title"] == (
            f"bad data: 4 of 23 train samples could not be read and were {done}; "
            "4 of 23 val samples could not be read and were left out"
        )
        assert {row["why"] for row in section["rows"]} == {f"ValueError: number {index}" for index in SPOILT}


def test_too_many_are_a_training_error_of_the_run() -> None:
    for plugins in LOADERS.values():
        with pytest.raises(TrainingError, match=r"1 of 23 train samples .*bad_limit=0.01"):
            train("skip", plugins(), limit=0.01, data=One)


class One(Bytes):
    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if index == 5:
            raise ValueError("one")
        return torch.full((2, 3), index, dtype=torch.uint8), index % 2


def test_data_that_is_not_read_by_us_is_told() -> None:
    batches = [(torch.ones(4, 2, 3), torch.zeros(4, dtype=torch.long))]
    net = nn.Sequential(nn.Flatten(), nn.Linear(6, 2))
    with pytest.warns(AccelWarning, match="bad_data has no effect: the data is in memory, or comes in ready batches"):
        Trainer(net, batches, loss=lambda m, b: nn.functional.cross_entropy(m(b[0]), b[1]), watch=(), bad_data="skip").fit()


def test_nothing_can_be_bad_of_tensors_in_memory() -> None:
    with pytest.warns(AccelWarning, match="bad_data has no effect: the data is in memory"):
        train("skip", [], data=lambda: TensorDataset(torch.ones(8, 2, 3), torch.zeros(8, dtype=torch.long)))


def test_a_mistyped_policy() -> None:
    with pytest.raises(ConfigError, match=r"bad_data must be raise or skip or substitute, not 'skp'; did you mean 'skip'"):
        train("skp", [])
    with pytest.raises(ConfigError, match="bad_limit must be a number from 0 to 1"):
        train("skip", [], limit=2.0)


def test_nothing_is_said_where_nothing_is_bad() -> None:
    result = train("skip", [], data=lambda: Good())
    assert result.bad == {"train": 0, "val": 0}
    assert "bad_data" not in result.sections


class Good(Bytes):
    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.full((2, 3), index, dtype=torch.uint8), index % 2
