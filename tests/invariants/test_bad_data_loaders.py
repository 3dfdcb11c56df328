"""A sample that cannot be read has one fate, whoever reads it: a function of (seed, epoch, index)."""

from __future__ import annotations

import os
import signal
from itertools import cycle, product
from pathlib import Path
from typing import Any

import pytest
from numpy.typing import NDArray

from accel.data.batches.bad_samples import BadSampleRule
from accel.data.batches.make_batches import make_batches
from accel.data.loaders.ring import Ring
from accel.data.loaders.thread_pool import ThreadPool as Pool
from accel.data.loaders.worker_pool import WorkerPool as Processes
from accel.data.ranks.rank_share import RankShare
from accel.errors import AccelWarning
from tests.support.drill_length import LONG
from tests.support.hung_workers import hang, time_out_when_hung
from tests.support.sample_datasets import Drawn, Each, Filled, Padded, Plain, md5
from tests.support.spoilt_datasets import POLICIES, SHARES, SPOILT, over, read

KINDS = [Filled, Each, Drawn, Plain, Padded]


@POLICIES
@pytest.mark.parametrize(("kind", "share"), list(product(KINDS, SHARES)) if LONG else list(zip(KINDS, cycle(SHARES), strict=False)))
@pytest.mark.slow
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
        assert [slots is not None for slots in workers.pools] == [issubclass(kind, Filled)], "written into shared memory"
        assert [md5(workers.batches(0, epoch, 0)) for epoch in (0, 1)] == wanted
        assert md5(workers.batches(0, 1, 2)) == wanted[1][2:]
        assert batches.bad_sample_log.reasons == plain.bad_sample_log.reasons
        assert batches.meter.samples == plain.meter.samples + sum(map(len, list(plain.batches_of_indices(1))[2:]))
        workers.close()


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.slow
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
            if self.trouble == "hang":
                hang(self.once.parent, stop=True)
            os.kill(os.getpid(), signal.SIGKILL)
        if index in (3, 8, 17):
            raise KeyError(index)
        return super().fill(index, rng, out)


class StuckEach(Stuck):
    """The same, several one after another."""

    fill, fill_each = Stuck.fill, Each.fill_each  # type: ignore[assignment]


@POLICIES
@pytest.mark.parametrize(("trouble", "kind"), [("hang", Stuck), ("die", Stuck), ("die", StuckEach)])
def test_a_worker_that_hangs_or_dies_while_it_writes_harms_no_batch(
    trouble: str, kind: type[Stuck], policy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def over(trouble: str) -> Any:
        return make_batches(kind(tmp_path / "once", trouble), 4, seed=3, shuffle=True, bad=BadSampleRule(policy, 1.0))

    plain, batches = over(""), over(trouble)
    wanted = [md5(plain.epoch(epoch)) for epoch in (0, 1)]
    workers = Processes([batches], 2, prefetch=2, timeout=0.8)
    time_out_when_hung(workers, tmp_path, monkeypatch)
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
