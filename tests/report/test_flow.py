"""The sentence on whether a run waited for its data, and what it is told to try: never what is on, or cannot work."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from accel import Trainer
from accel.data.batches.make_batches import make_batches
from accel.data.batches.mapped import MapBatches
from accel.data.loaders.ring import Ring
from accel.data.loaders.worker_pool import WorkerPool as Processes
from accel.data.stores.encoding_recipe import Recipe
from accel.data.stores.packing import Packing
from accel.parts import Part
from accel.plugins.lmdb import LMDB
from accel.plugins.prefetch import Prefetch
from accel.plugins.progress import Progress
from accel.plugins.resident import Resident
from accel.plugins.threads import Threads
from accel.plugins.workers import Workers
from accel.report.result import DataFlow
from accel.system.clock import DATA, FORWARD
from accel.system.cpu.local_ranks import RANK_CORES
from accel.tasks.images import Images
from accel.testing.toy_run import Spy
from tests.support.drawn_images import drawn
from tests.support.sample_datasets import Drawn, Filled


@pytest.mark.parametrize(
    ("wait", "waited", "says"),
    [
        (9.9, 50.0, "not data-bound: 9.9 % of the training waited for data; 1.20k samples/s came through"),
        (10.0, 50.0, "data-bound: 10.0 %"),
        (90.0, 0.9, "too short to tell: 90.0 %"),
    ],
)
def test_the_sentence(wait: float, waited: float, says: str) -> None:
    flow = DataFlow(wait, waited, 1200.0)
    assert flow.text().startswith(says)
    assert flow.bound == says.startswith("data-bound")
    assert DataFlow(wait, waited, 1200.0, 4500.0).text().endswith("came through, and reading alone makes 4.50k")


class Slow(TensorDataset):
    """Not indexed at once."""


class Stream(IterableDataset[Tensor]):
    def __iter__(self) -> Any:
        yield from torch.ones(24, 2, 3)


def pairs() -> tuple[Tensor, Tensor]:
    return torch.ones(24, 2, 3), torch.zeros(24, dtype=torch.long)


def fit(data: Any, plugins: list[Part], bound: bool = True, **settings: Any) -> Any:
    """A run of one epoch that, by its clock, spent most of its training waiting for data, or none of it."""

    class Told(Spy):
        def end(self, result: Any) -> None:
            self.run.clock.spent[DATA if bound else FORWARD] += 1000

    def loss(model: nn.Module, batch: Any) -> Tensor:
        return model(batch[0] if isinstance(batch, list | tuple) else batch).mean()

    net = nn.Sequential(nn.Flatten(), nn.Linear(6, 1))
    return Trainer(
        net, data, loss=loss, plugins=[Told(), *plugins], watch=(), batch_size=settings.pop("batch_size", 4), **settings
    ).fit()


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RANK_CORES, "count", lambda: 2)


TRIES: list[tuple[str, Callable[[], Any], Callable[[], list[Part]], list[str]]] = [
    ("tensors in memory", lambda: TensorDataset(*pairs()), list, []),
    ("records", Filled, list, ["plugins=['threads'], which reads on 2 cores"]),
    ("samples", Drawn, list, ["plugins=['workers'], which reads on 2 cores"]),
    ("read ahead", Drawn, lambda: [Prefetch()], ["plugins=['workers'], which reads on 2 cores"]),
    ("threads are on", Filled, lambda: [Threads(), Prefetch()], []),
    ("fewer than could be", Filled, lambda: [Threads(count=1)], ["Threads(count=2)"]),
    ("workers are on", Drawn, lambda: [Workers()], []),
    ("in memory already", lambda: Slow(*pairs()), lambda: [Resident()], []),
    ("a stream", Stream, list, ["plugins=['prefetch']"]),
    ("a stream, ahead", Stream, lambda: [Prefetch()], []),
]


@pytest.mark.parametrize(("data", "plugins", "wanted"), [row[1:] for row in TRIES], ids=[row[0] for row in TRIES])
def test_what_to_try(data: Any, plugins: Any, wanted: list[str]) -> None:
    result = fit(data(), plugins())
    assert result.flow.bound
    assert result.flow.tries == wanted
    assert fit(data(), plugins(), bound=False).flow.tries == [], "nothing where it does not wait"


@pytest.mark.filterwarnings("ignore:data is a list whose elements may be samples or ready batches")
@pytest.mark.filterwarnings("ignore:batch_size has no effect")
def test_what_to_try_with_a_loader_of_ones_own() -> None:
    data = TensorDataset(torch.ones(24, 2, 3))
    assert fit(DataLoader(data, 4), [], batch_size=None).flow.tries == ["num_workers=2 in the DataLoader", "plugins=['prefetch']"]
    assert fit(DataLoader(data, 4), [Prefetch()], batch_size=None).flow.tries == ["num_workers=2 in the DataLoader"]
    assert fit(list(DataLoader(data, 4)), [], batch_size=None).flow.tries == []


def test_one_core_reads_no_faster_by_two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RANK_CORES, "count", lambda: 1)
    assert fit(Filled(), []).flow.tries == []


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    for split in ("train", "val"):
        for name in ("a", "b"):
            (root / split / name).mkdir(parents=True)
            for number in range(4):
                (root / split / name / f"{number}.jpg").write_bytes(drawn(80, 60))
    return root


def tries(root: Path, plugins: list[Part], **settings: Any) -> list[str]:
    class Told(Spy):
        def end(self, result: Any) -> None:
            self.run.clock.spent[DATA] += 1000

    plugins = [Told(), *plugins]
    result = Images(root=str(root), size=16, plugins=plugins, watch=(), batch_size=4, device="cpu", command="x", **settings).fit()
    assert result.flow is not None
    return result.flow.tries


def test_what_to_try_with_pictures(pictures: Path, tmp_path: Path) -> None:
    resident, threads = "'+plugins=[resident]', as the data fits into memory", "'+plugins=[threads]', which reads on 2 cores"
    simple = "task.decoder=simplejpeg, which decodes the same pixels faster"
    tiled = f"python -m accel pack {pictures} {pictures} --encoding tiled, then '+plugins=[lmdb]': a crop decodes"
    small = f"python -m accel pack {pictures} {pictures} --encoding jpeg --short-side 16, then '+plugins=[lmdb]'"

    def same(actual: list[str], *wanted: str) -> bool:
        return len(actual) == len(wanted) and all(map(str.startswith, actual, wanted))

    assert same(tries(pictures, []), resident, threads, simple, small)
    assert same(tries(pictures, [], crop="resized"), threads, simple, tiled), "resident cannot cut boxes out of whole pictures"
    assert same(tries(pictures, [Threads()], crop="resized", decoder="simplejpeg"), tiled)
    assert tries(pictures, [Resident()]) == []
    task = Images(root=str(pictures), size=16)
    for split in ("train", "val"):
        Packing(task.data(split).store, tmp_path / f"{split}.lmdb", Recipe("tiled")).run()  # type: ignore[arg-type]
    assert tries(pictures, [Threads(), LMDB(path=str(tmp_path))], crop="resized", decoder="simplejpeg") == []


def test_it_is_shown_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(Filled(), [Progress()], out=tmp_path / "run")
    shown = capsys.readouterr().out
    words = " ".join(shown.split())
    assert re.search(
        r"data-bound: \S+ % of the training waited for data; \S+ samples/s came through, and reading alone makes \d", words
    )
    assert shown.endswith("\nto wait less for data, try\n  plugins=['threads'], which reads on 2 cores\n"), (
        "each on a line of its own"
    )
    kept = json.loads((tmp_path / "run" / "summary.json").read_text())["flow"]
    assert kept["bound"] is True
    assert kept["tries"] == ["plugins=['threads'], which reads on 2 cores"]
    assert kept["wait"] > 90


class Clocked(Drawn):
    """Each sample takes a second of whoever reads it, by a clock of the process's own."""

    now = 0.0

    def sample(self, index: int, rng: Any) -> Any:
        Clocked.now += 1
        return super().sample(index, rng)


MODULES = ("batches.mapped", "loaders.ring", "loaders.thread_pool", "loaders.worker_process")


@pytest.mark.parametrize("reader", ["plain", "threads", "workers"])
def test_the_ceiling_is_what_reading_took(reader: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the consumer does meanwhile: here it takes a hundred seconds for each batch."""
    for module in MODULES:
        monkeypatch.setattr(f"accel.data.{module}.perf_counter", lambda: Clocked.now)
    batches = make_batches(Clocked(), 4, shuffle=True)
    assert isinstance(batches, MapBatches)
    assert batches.meter.rate is None
    if reader == "threads":
        with Ring(Clocked(), 4, shuffle=True, threads=1, depth=1) as ring:
            list(ring.epoch(0))
            batches = ring.batches
    elif reader == "workers":
        workers = Processes([batches], 2, 1, 60)
        for _ in workers.batches(0, 0, 0):
            Clocked.now += 100
        workers.close()
    else:
        for _ in batches.epoch(0):
            Clocked.now += 100
    assert batches.meter.samples == 23
    assert batches.meter.rate == pytest.approx(2.0 if reader == "workers" else 1.0)


def test_it_counts_what_this_run_did(tmp_path: Path) -> None:
    """A resumed run has samples that an earlier one read."""
    first = fit(Filled(), [], out=tmp_path / "run", epochs=1)
    rest = fit(Filled(), [], resume=tmp_path / "run", epochs=2)
    assert rest.samples == 2 * first.samples
    assert rest.flow.rate == pytest.approx(first.flow.rate, rel=0.1), "23 samples in 1,000 seconds and a little"


def test_a_run_without_an_update_says_nothing(tmp_path: Path) -> None:
    fit(Filled(), [], out=tmp_path / "run", epochs=1)
    assert fit(Filled(), [], resume=tmp_path / "run", epochs=1).flow is None
