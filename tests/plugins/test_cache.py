from __future__ import annotations

import gc
import multiprocessing as mp
import os
import signal
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from accel.cli.train_command import main
from accel.data.batches.make_batches import make_batches
from accel.data.batches.mapped import MapBatches
from accel.data.cache.caching_store import CachingStore
from accel.data.loaders.ring import Ring
from accel.data.loaders.worker_pool import WorkerPool as Processes
from accel.errors import AccelWarning, ConfigError
from accel.plugins.cache import Cache
from accel.plugins.threads import Threads
from accel.plugins.workers import Workers
from accel.tasks.images import Images
from accel.testing import fit_toy
from accel.testing.toy_run import Spy, Stop
from tests.support.sample_datasets import md5


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes of noise: JPEGs (one progressive), PNGs, a grey one, of several sizes."""
    image = pytest.importorskip("PIL.Image", reason="the pictures need the extra images")
    rng = np.random.default_rng(0)
    for split, count in (("train", 10), ("test", 3)):
        for name in ("cat", "dog"):
            folder = tmp_path / "data" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                picture = image.fromarray(rng.integers(256, size=(40 + number, 44, 3), dtype=np.uint8))
                kind = ("jpg", "png", "jpg", "bmp")[number % 4]
                picture = picture.convert("L" if number == 6 else "RGB")
                picture.save(folder / f"{number}.{kind}", **({"progressive": True} if number == 2 else {}))
    return tmp_path / "data"


class Facts:
    dry_run = False


def opened(
    root: Path, split: str = "train", crop: Any = "resized", decoder: Any = "pillow", filter: Any = "antialias", **settings: Any
) -> Any:
    plugin = Cache(**settings)
    plugin.setup(Facts())  # type: ignore[arg-type]
    return plugin.open(Images(root=str(root), size=16, crop=crop, decoder=decoder, filter=filter).data(split), split)


def mapped(data: Any) -> MapBatches:
    batches = make_batches(data, 4, seed=3, shuffle=True)
    assert isinstance(batches, MapBatches)
    return batches


def kept(data: Any) -> list[bool]:
    assert isinstance(data.store, CachingStore)
    return [data.store._lookup(index) is not None for index in range(len(data))]


WAYS = [
    ("resized", "pillow", "antialias"), ("pad", "pillow", "antialias"), ("none", "simplejpeg", "area"),
    ("resized", "simplejpeg", "linear"), ("resized", "opencv", "antialias"), ("resized", "scaled", "antialias"),
]  # fmt: skip


@pytest.mark.parametrize(("crop", "decoder", "filter"), WAYS)
@pytest.mark.parametrize("place", ["memory", "disk"])
def test_batches_are_the_same_in_every_epoch(root: Path, tmp_path: Path, crop: str, decoder: str, filter: str, place: str) -> None:
    where = {"memory": 0, "path": str(tmp_path)} if place == "disk" else {"disk": 0}
    for split in ("train", "test"):
        plain = mapped(Images(root=str(root), size=16, crop=crop, decoder=decoder, filter=filter).data(split))  # type: ignore[arg-type]
        data = opened(root, split, crop, decoder, filter, **where)
        assert not any(kept(data))
        for epoch in range(3):
            assert md5(mapped(data).epoch(epoch)) == md5(plain.epoch(epoch)), (split, epoch)
            assert all(kept(data))


@pytest.mark.parametrize("crop", ["resized", "pad"])
@pytest.mark.slow
def test_and_by_threads_and_by_processes(root: Path, crop: str, forked_commands: None) -> None:
    plain = mapped(Images(root=str(root), size=16, crop=crop).data("train"))  # type: ignore[arg-type]
    expected = [md5(plain.epoch(epoch)) for epoch in range(2)]
    data = opened(root, crop=crop)
    with Ring(data, 4, seed=3, shuffle=True, threads=3) as ring:
        assert [md5(ring.epoch(epoch)) for epoch in range(2)] == expected
    for start, count in (("fork", 2), ("spawn", 1)) if crop == "pad" else (("fork", 2),):
        data = opened(root, crop=crop)
        workers = Processes([mapped(data)], count, 2, 60.0, start)
        assert [md5(workers.batches(0, epoch, 0)) for epoch in range(2)] == expected
        workers.close()
        assert all(kept(data)), "what a worker has kept all of them find, and so does this process"


def test_the_files_are_not_read_again(root: Path) -> None:
    data = opened(root, crop="pad")
    expected = md5(mapped(data).epoch(0))
    for file in data.store.files:
        Path(file).write_bytes(b"")
    assert md5(mapped(data).epoch(0)) == expected


@pytest.mark.filterwarnings("ignore:.* it was never finished")  # the checkpoint that was being written just then
@pytest.mark.slow
def test_killed_in_the_first_epoch_and_resumed(root: Path, tmp_path: Path) -> None:
    def fit(plugins: list[Any], **settings: Any) -> Any:
        return Images(
            root=str(root), size=16, crop="resized", plugins=plugins, watch=(), epochs=2, batch_size=4, device="cpu", **settings
        ).fit()

    class Killed(Spy):
        def after(self, step: int, loss: Any) -> None:
            if step == 3:
                os.kill(os.getpid(), signal.SIGKILL)

    def cache() -> Cache:
        return Cache(memory=0, path=str(tmp_path / "cache"))

    plain = fit([])
    out = tmp_path / "run"
    process = mp.get_context("fork").Process(
        target=fit, args=([cache(), Threads(count=2), Killed()],), kwargs={"out": out, "checkpoint_every": 1}
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    process.close()
    for plugins in ([cache(), Threads(count=2)], [cache(), Workers(count=2)]):
        rest = fit(plugins, resume=out) if isinstance(plugins[1], Threads) else fit(plugins)
        assert rest.metrics == plain.metrics
        assert all(map(np.array_equal, plain.model.state_dict().values(), rest.model.state_dict().values()))


def test_another_run_finds_what_is_on_disk_and_a_changed_folder_is_another_cache(root: Path, tmp_path: Path) -> None:
    where = {"memory": 0, "path": str(tmp_path), "crop": "pad"}
    first = md5(mapped(opened(root, **where)).epoch(0))
    again = opened(root, **where)
    assert all(kept(again))
    assert md5(mapped(again).epoch(0)) == first
    file = Path(again.store.files[3])
    was = file.stat()
    os.utime(file, ns=(was.st_atime_ns, was.st_mtime_ns + 1))
    assert not any(kept(opened(root, **where)))
    assert not any(kept(opened(root, **where, filter="area")))


def test_where_there_is_room_for_some_of_it(root: Path, tmp_path: Path) -> None:
    plain = mapped(Images(root=str(root), size=16, crop="resized").data("train"))
    expected = [md5(plain.epoch(epoch)) for epoch in range(2)]
    some = 60e3 / 1e9
    for settings in ({"memory": some, "disk": 0}, {"memory": 0, "disk": some, "path": str(tmp_path)}):
        data = opened(root, **settings)
        with pytest.warns(AccelWarning, match="cache: nothing more is kept in .* 6e-05 GB that it may use are full") as message:
            assert [md5(mapped(data).epoch(epoch)) for epoch in range(2)] == expected
        assert len(message) == 1
        assert 0 < sum(kept(data)) < len(data)
    both = opened(root, memory=some, disk=some, path=str(tmp_path / "both"))
    with warnings.catch_warnings(record=True):
        assert [md5(mapped(both).epoch(epoch)) for epoch in range(2)] == expected
    assert sum(kept(both)) > sum(kept(data))
    none = opened(root, memory=0, disk=0)
    assert not isinstance(none.store, CachingStore)


def test_a_bad_picture_is_named_as_without_it(root: Path) -> None:
    file = root / "train" / "cat" / "0.jpg"
    file.write_bytes(file.read_bytes()[:900])
    for crop in ("pad", "resized"):
        message = []
        for data in (Images(root=str(root), size=16, crop=crop).data("train"), opened(root, crop=crop)):  # type: ignore[arg-type]
            with pytest.raises(ConfigError, match=r"cannot read the picture .*0.jpg") as error:
                md5(mapped(data).epoch(0))
            message.append(str(error.value))
        assert message[0] == message[1]


def test_what_it_says_and_refuses(root: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.warns(AccelWarning, match="cache has no effect: the data is a TensorDataset"):
        fit_toy([Cache()])
    with pytest.raises(ConfigError, match=r"cache.keep=shown: the task shows another part in every epoch"):
        opened(root, keep="shown")
    with pytest.raises(ConfigError, match=r"cache.keep=pixels: task.decoder=scaled"):
        opened(root, keep="pixels", decoder="scaled")
    assert main(["+plugins=[cache]", "plugins.cache.memory=lots"]) == 2
    assert "cache.memory must be a number from 0, or auto, not 'lots'" in capsys.readouterr().err
    words = ["task=images", f"task.root={root}", "task.size=16", "+plugins=[cache]", "plugins.cache.memory=0", "device=cpu"]
    assert main([*words, f"plugins.cache.path={tmp_path / 'dry'}", "dry_run=true"]) == 0
    assert "train cache" in capsys.readouterr().out
    assert not (tmp_path / "dry").exists(), "a dry run writes nothing"
    (tmp_path / "file").write_text("")
    with pytest.warns(AccelWarning, match="cache: nothing is kept on disk"):
        opened(root, memory=0, path=str(tmp_path / "file"))
    with pytest.warns(AccelWarning, match="no effect in a single epoch"):
        Images(root=str(root), size=16, plugins=[Cache(), Spy(stop=0)], watch=(), epochs=1, device="cpu").fit()


@pytest.mark.slow
def test_stopped_in_the_midst_it_leaves_no_descriptor(root: Path) -> None:
    def stopped() -> None:
        plugins = [Cache(), Spy(stop=2)]
        with pytest.raises(Stop):
            Images(root=str(root), size=16, plugins=plugins, watch=(), epochs=2, batch_size=4, device="cpu").fit()

    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    stopped()
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before
