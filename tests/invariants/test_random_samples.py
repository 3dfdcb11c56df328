"""The random numbers that data draws are those of the sample, whoever reads it, and the training's own are left alone."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from accel import Trainer
from accel.data.batches.make_batches import make_batches
from accel.data.loaders.read_ahead import read_ahead
from accel.data.loaders.ring import Ring
from accel.data.loaders.worker_pool import WorkerPool
from accel.data.randomness.rng_guard import global_rng_state
from accel.errors import ConfigError
from accel.plugins.workers import Workers
from accel.testing.toy_run import Spy, Stop
from tests.support.drawing_datasets import DRAWING, OF_MODULE, STREAMS
from tests.support.drill_length import LONG
from tests.support.sample_datasets import md5

pytestmark = pytest.mark.filterwarnings("ignore::accel.errors.AccelWarning")
SIZE = 4


def batches_of(data: Any, seed: int = 3) -> Any:
    return make_batches(data, SIZE, seed=seed, shuffle=True)


def epochs(read: Callable[[int, int], Iterator[Any]]) -> list[list[str]]:
    """Two epochs, and the second once more from its third batch on."""
    return [md5(read(0, 0)), md5(read(1, 0)), md5(read(1, 2))]


def expected(make: Callable[[], Any]) -> list[list[str]]:
    first, second, rest = epochs(batches_of(make()).epoch)
    assert rest == second[2:]
    return [first, second, rest]


@contextmanager
def nothing_moves() -> Iterator[None]:
    """Global generators, and one of a module, are afterwards where they were."""
    np.random.seed(2)
    np.random.randn()  # a second number is kept
    before = global_rng_state(), OF_MODULE.bit_generator.state
    yield
    assert (global_rng_state(), OF_MODULE.bit_generator.state) == before


@pytest.mark.parametrize("name", DRAWING)
def test_a_sample_draws_its_own_numbers_in_the_plain_loader(name: str) -> None:
    with nothing_moves():
        batches = expected(DRAWING[name])
    for seed in (1, 2):  # whatever was drawn before
        random.seed(seed), np.random.seed(seed), torch.manual_seed(seed)
        assert expected(DRAWING[name]) == batches
    if name not in ("nothing", "now and then", "seeding itself", "written now and then"):
        one, two = (torch.cat([x[0] if isinstance(x, list) else x for x in batches_of(DRAWING[name]()).epoch(e)]) for e in (0, 1))
        assert not torch.equal(one[one[:, 0].argsort()], two[two[:, 0].argsort()]), "another epoch, other numbers"
        assert md5(batches_of(DRAWING[name](), seed=4).epoch(0)) != batches[0], "another seed, other numbers"


@pytest.mark.parametrize("name", DRAWING)
def test_threads_and_reading_ahead_give_the_same(name: str) -> None:
    batches = expected(DRAWING[name])
    for threads in (1, 3):
        with nothing_moves(), Ring(DRAWING[name](), SIZE, seed=3, shuffle=True, threads=threads) as ring:
            assert epochs(ring.epoch) == batches
    with Ring(DRAWING[name](), SIZE, seed=3, shuffle=True, threads=2) as ring:
        for source in (batches_of(DRAWING[name]()), ring):
            assert epochs(lambda epoch, start, source=source: read_ahead(source.epoch(epoch, start), 2, "x")) == batches  # type: ignore[misc]


@contextmanager
def nothing() -> Iterator[None]:
    yield


@pytest.mark.parametrize("count", [1, 3])
def test_workers_give_the_same(count: int) -> None:
    data = {name: make() for name, make in DRAWING.items()}
    plain = {name: expected(make) for name, make in DRAWING.items()}
    workers = WorkerPool([batches_of(one) for one in data.values()], count, prefetch=2, timeout=60)
    with nothing_moves():
        for place, name in enumerate(data):
            assert epochs(lambda epoch, start, place=place: workers.batches(place, epoch, start)) == plain[name], name  # type: ignore[misc]
    workers.close()


@pytest.mark.slow
def test_spawned_workers_give_the_same(forked_commands: None) -> None:
    names = ["all", "enclosed", "lazy", "now and then", "collated", "at once", "held", "one for each class", "a subset", "joined"]
    workers = WorkerPool([batches_of(DRAWING[name]()) for name in names], 1, prefetch=2, timeout=60, start="spawn")
    for place, name in enumerate(names):
        assert epochs(lambda epoch, start, place=place: workers.batches(place, epoch, start)) == expected(DRAWING[name]), name  # type: ignore[misc]
    workers.close()


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_draws_the_numbers_of_its_epoch(name: str) -> None:
    batches = expected(STREAMS[name])
    for seed in (1, 2):
        random.seed(seed), np.random.seed(seed), torch.manual_seed(seed)
        source = batches_of(STREAMS[name]())
        with nothing_moves():
            assert epochs(source.epoch) == batches
        assert epochs(lambda epoch, start, source=source: read_ahead(source.epoch(epoch, start), 2, "x")) == batches  # type: ignore[misc]
        source = batches_of(STREAMS[name]())
        assert epochs(lambda epoch, start, source=source: read_ahead(source.epoch(epoch, start), 2, "x")) == batches  # type: ignore[misc]
    assert name == "nothing" or batches[0] != batches[1]


PLUGINS = ["", "workers", "threads", "prefetch", "resident", "stream"]


def train(make: Callable[[], Any], plugins: list[Any], **run: Any) -> Any:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(2, 4), nn.Dropout(0.5), nn.Linear(4, 2)).double()

    def loss(model: nn.Module, batch: Any) -> Tensor:
        x = batch[0] if isinstance(batch, list) else batch
        noise = random.random() + np.random.rand() + torch.rand(()) if model.training else 0
        return (model(x / 19) + noise).square().mean()

    return Trainer(model, make(), make(), loss, plugins=plugins, watch=(), epochs=2, batch_size=SIZE, device="cpu", **run).fit()


@pytest.mark.parametrize("name", ["all", "held", "stream", *["now and then", "collated", "given"] * LONG])
@pytest.mark.slow
def test_a_run_is_the_same_with_every_loader_and_goes_on_where_it_was(name: str, tmp_path: Path) -> None:
    make = STREAMS["all"] if name == "stream" else DRAWING[name]
    plugins = [one for one in PLUGINS if one != "resident" or name not in ("collated", "given", "stream")]
    plain = train(make, [])
    with pytest.raises(Stop):
        train(make, [Spy(stop=8)], out=tmp_path / "run", checkpoint_every=1)
    for one in plugins:
        chosen = [one] if one else []
        if one == "workers":
            chosen = [Workers(count=1)]
        whole = train(make, chosen)
        rest = [] if one == "resident" else [train(make, chosen, resume=tmp_path / "run", out=tmp_path / f"{one}x")]
        for result in (whole, *rest):
            assert all(map(torch.equal, plain.model.state_dict().values(), result.model.state_dict().values())), one
            assert result.history == plain.history, one


@pytest.mark.parametrize("plugins", [[], ["prefetch"], ["threads"], [Workers(count=1)]], ids=str)
def test_a_checkpoint_from_before_is_refused_as_soon_as_the_data_draws(
    plugins: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr("accel.checkpoints.state.DRAWS", "as it is read")
        for name in ("nothing", "all"):
            with pytest.raises(Stop):
                train(DRAWING[name], [Spy(stop=3)], out=tmp_path / name, checkpoint_every=1)
    train(DRAWING["nothing"], plugins, resume=tmp_path / "nothing")
    with pytest.raises(ConfigError, match=r"the data draws random numbers, which came as it was read .*'resume.allow=\[data\]'"):
        train(DRAWING["all"], plugins, resume=tmp_path / "all")
    train(DRAWING["all"], plugins, resume=tmp_path / "all", allow=["data"])


def test_every_evaluation_draws_the_same_numbers() -> None:
    torch.manual_seed(0)
    model = nn.Linear(2, 1).double()
    for parameter in model.parameters():
        parameter.register_hook(torch.zeros_like)
    result = Trainer(
        model, DRAWING["nothing"](), DRAWING["all"](), lambda model, x: model(x).square().mean(), watch=(), epochs=3, device="cpu"
    ).fit()
    assert len({row["loss"] for row in result.history}) == 1


def test_the_plan_says_whose_the_random_numbers_are(tmp_path: Path) -> None:
    words = {"sample": "of a sample, by seed, epoch and index", "stream": "of the stream, by seed and epoch"}
    for name, data in (("sample", DRAWING["all"]), ("stream", STREAMS["all"])):
        train(data, [], out=tmp_path / name)
        facts = json.loads((tmp_path / name / "plan.json").read_text())["facts"]
        assert facts["random numbers"] == words[name]
