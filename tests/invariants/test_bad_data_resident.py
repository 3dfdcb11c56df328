"""Samples that cannot be read, in data that is kept on the device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from accel.data.batches.bad_samples import BadSampleRule
from accel.data.batches.make_batches import make_batches
from accel.data.datasets.image_folder import AugmentedFolder
from accel.data.ranks.rank_share import SINGLE_RANK, RankShare
from accel.errors import TrainingError
from accel.parts import Parts, Run
from accel.plugins.resident import Resident
from tests.support.drawn_images import drawing, jpeg
from tests.support.sample_datasets import md5
from tests.support.spoilt_datasets import POLICIES, SHARES, Bytes


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
