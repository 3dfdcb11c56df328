"""Who reads the data, and how far ahead, never changes what the model sees."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from accel import Trainer
from accel.data.batches.make_batches import make_batches
from accel.data.batches.mapped import MapBatches
from accel.data.loaders.ring import Ring
from accel.data.loaders.worker_pool import WorkerPool as Processes
from accel.parts import Part
from accel.plugins.accumulate import Accumulate
from accel.plugins.prefetch import Prefetch
from accel.plugins.stream import Stream
from accel.plugins.threads import Threads
from accel.plugins.workers import Workers
from accel.testing.toy_run import Spy, Stop
from tests.support.sample_datasets import KINDS, Drawn, Filled, Global, Plain, md5


@pytest.mark.parametrize("kind", KINDS)
def test_threads_give_the_plain_loaders_batches(kind: type) -> None:
    plain = make_batches(kind(), 4, seed=3, shuffle=True)
    for threads in (1, 2, 4):
        for depth in (1, 3):
            with Ring(kind(), 4, seed=3, shuffle=True, threads=threads, depth=depth) as ring:
                for epoch in (0, 1):
                    assert md5(ring.epoch(epoch)) == md5(plain.epoch(epoch))
                assert md5(ring.epoch(1, start=4)) == md5(plain.epoch(1))[4:]


@pytest.mark.parametrize("count", [1, 2, 4])
def test_workers_give_the_plain_loaders_batches(count: int) -> None:
    data = [make_batches(kind(), 4, seed=3, shuffle=kind is not Plain) for kind in KINDS]
    assert all(isinstance(batches, MapBatches) for batches in data)
    workers = Processes(data, count, prefetch=2, timeout=60)  # type: ignore[arg-type]
    for which, plain in enumerate(data):
        for epoch in (0, 1):
            assert md5(workers.batches(which, epoch, 0)) == md5(plain.epoch(epoch))
        assert md5(workers.batches(which, 1, 4)) == md5(plain.epoch(1))[4:]
    workers.close()


def test_epochs_that_take_turns_are_whole_each() -> None:
    plain = make_batches(Drawn(), 4, seed=3, shuffle=True)
    assert isinstance(plain, MapBatches)
    expected = md5(batch for pair in zip(plain.epoch(0), plain.epoch(1), strict=True) for batch in pair)
    workers = Processes([plain], 2, prefetch=2, timeout=60)
    with Ring(Drawn(), 4, seed=3, shuffle=True, threads=2) as ring:
        for first, second in ((ring.epoch(0), ring.epoch(1)), (workers.batches(0, 0, 0), workers.batches(0, 1, 0))):
            assert md5(batch for pair in zip(first, second, strict=True) for batch in pair) == expected
    workers.close()


LOADERS: dict[str, Callable[[], list[Part]]] = {
    "plain": list,
    "workers": lambda: [Workers(count=2)],
    "threads": lambda: [Threads(count=2)],
    "prefetch": lambda: [Prefetch()],
    "threads, held longer": lambda: [Threads(count=2, depth=1), Prefetch(depth=4), Accumulate(steps=3), Stream()],
    "workers, read ahead": lambda: [Workers(count=3, prefetch_factor=1), Prefetch(), Accumulate(steps=3)],
}


def train(data: Callable[[], Any], plugins: list[Part], stop: int = 0, out: Path | None = None, resume: Path | None = None) -> Any:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.Dropout(0.5), nn.Linear(4, 2))

    def loss(model: nn.Module, batch: Any) -> Tensor:
        x, y = batch.values() if isinstance(batch, dict) else batch
        return nn.functional.cross_entropy(model(x / 23), y)

    return Trainer(
        model, data(), data(), loss, plugins=[Spy(stop=stop), *plugins], watch=(), epochs=2, batch_size=4, seed=1,
        out=out, resume=resume, checkpoint_every=1 if out else None,
    ).fit()  # fmt: skip


@pytest.mark.filterwarnings("ignore::accel.errors.AccelWarning")
@pytest.mark.parametrize("data", [Filled, Drawn, Global])
@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.slow
def test_the_run_is_the_same_and_goes_on_where_it_was(loader: str, data: type, tmp_path: Path) -> None:
    plugins = LOADERS[loader]
    whole = train(data, plugins())
    per_epoch = 2 if any(isinstance(plugin, Accumulate) for plugin in plugins()) else 6
    with pytest.raises(Stop):
        train(data, plugins(), stop=per_epoch + 2, out=tmp_path / "run")
    rest = train(data, plugins(), resume=tmp_path / "run")
    assert all(map(torch.equal, whole.model.state_dict().values(), rest.model.state_dict().values()))
    assert whole.history == rest.history
    plain = train(data, [plugin for plugin in plugins() if isinstance(plugin, Accumulate)])
    assert all(map(torch.equal, whole.model.state_dict().values(), plain.model.state_dict().values()))
    assert whole.history == plain.history


def test_a_resumed_run_may_read_in_another_way(tmp_path: Path) -> None:
    ways = [[Threads(count=2), Prefetch()], [], [Threads(count=1, depth=1)]]
    whole = train(Drawn, [])
    for step, way in enumerate(ways, 1):
        with pytest.raises(Stop):
            train(Drawn, way, stop=4 * step, out=tmp_path / "run", resume=tmp_path / "run" if step > 1 else None)
    rest = train(Drawn, [Prefetch()], resume=tmp_path / "run")
    assert all(map(torch.equal, whole.model.state_dict().values(), rest.model.state_dict().values()))


@pytest.mark.filterwarnings("ignore::accel.errors.AccelWarning")
def test_how_many_workers_is_free_and_whether_there_are_any_too(tmp_path: Path) -> None:
    run = tmp_path / "run"
    whole = train(Global, [Workers(count=1)])
    with pytest.raises(Stop):
        train(Global, [Workers(count=1)], stop=4, out=run)
    for plugins in ([], [Workers(count=3)], [Threads(count=2)]):
        rest = train(Global, plugins, resume=run)
        assert all(map(torch.equal, whole.model.state_dict().values(), rest.model.state_dict().values()))
