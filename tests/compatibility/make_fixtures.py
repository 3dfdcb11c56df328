"""Wrote the fixtures in `before_0_1`: runs stopped half way, stores, caches and unfinished stores, as accel was before its move.

It was run once, at the commit 0c0db42, and uses interfaces as they were there; it need not run with any later one:

    git worktree add /tmp/before 0c0db42
    cp -r tests/compatibility /tmp/before/tests
    cd /tmp/before && PYTHONPATH=. OMP_NUM_THREADS=1 python -m tests.compatibility.make_fixtures

All is made in one folder, in which every path is relative, and packed into `before.tar.xz`; `expected.json` says which command each
run was started by, after how many updates it was stopped, and what it came to where nobody stopped it. The data is in
`tests.compatibility.writing`.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from accel.data.shards.tfrecord import NAMES

from accel.__main__ import main as command
from accel.checkpoints import Saver
from accel.cli.train_command import main
from accel.errors import ConfigError, Interrupted
from tests.compatibility import writing
from tests.compatibility.unpacked import FAR, publish

HERE = Path(__file__).with_name("before_0_1")
POINTS = ["task._target_=mine.Points", "epochs=3", "batch_size=4", "seed=5"]
LOADED = ["task._target_=mine.Loaded", "epochs=3", "seed=5"]
PICTURES = ["task=images", "task.size=16", "task.model=mine.Net", "epochs=3", "batch_size=6", "seed=5"]
FOLDER = [*PICTURES, "task.root=pictures"]

RUNS: dict[str, tuple[list[str], int]] = {
    "plain": ([*POINTS, "+plugins=[tensorboard]"], 8),
    "half": ([*POINTS, "+plugins=[amp,ema,clip,accumulate,onecycle,adamw]", "plugins.amp.dtype=float16", "plugins.amp.force=true",
              "plugins.amp.growth_interval=3", "plugins.ema.decay=0.9", "plugins.clip.mode=adaptive",
              "plugins.accumulate.steps=2"], 4),
    "lamb": ([*POINTS, "+plugins=[lamb,cosine,oom]", "plugins.lamb.lr=0.05", "plugins.oom.grow_after=2"], 8),
    "muon": ([*POINTS, "+plugins=[muon,lr_range,batch_lr]", "plugins.muon.ns_dtype=float32", "plugins.lr_range.updates=12",
              "plugins.batch_lr.reference=8"], 8),
    "free": ([*POINTS, "+plugins=[schedule_free,clip]", "plugins.clip.mode=value", "plugins.schedule_free.lr=0.02"], 8),
    "lars": ([*POINTS, "+plugins=[lars,finite_guard,cyclic]", "plugins.lars.lr=5", "plugins.cyclic.cycle_momentum=true"], 8),
    "masters": ([*POINTS, "+plugins=[master_weights,sgd,ema,clip]", "plugins.sgd.lr=0.1", "plugins.sgd.exclude=norm_and_bias",
                 "plugins.ema.decay=0.9", "plugins.ema.warmup=false"], 8),
    "cycled": ([*POINTS, "+plugins=[adamw,onecycle]", "plugins.adamw.lr=0.02", "plugins.onecycle.cycle_momentum=true"], 8),
    "unfused": ([*POINTS, "+plugins=[adamw]", "plugins.adamw.fused=false"], 8),
    "loaded": ([*LOADED, "+plugins=[sgd,prefetch]", "plugins.sgd.lr=0.1"], 8),
    "text": (["task=text", "task.path=letters", "task.context=8", "task.layers=2", "task.heads=1", "task.width=8", "epochs=2",
              "+plugins=[adamw,backend,recompute]"], 11),
    "digits": (["task=digits", "task.width=4", "experiment=quick", "epochs=2", "batch_size=256"], 8),
    "folder": ([*FOLDER, "+plugins=[augment,extents]", "plugins.augment.mixup=0.2", "plugins.augment.erasing=0.5",
                "plugins.extents.size=2", "plugins.extents.window=4"], 6),
    "bad": ([*PICTURES, "task.root=flawed", "bad_data=substitute", "bad_limit=0.2"], 6),
    "lmdb": ([*FOLDER, "+plugins=[lmdb,threads,extents]", "plugins.extents.size=2", "plugins.extents.window=4"], 6),
    "raw": ([*FOLDER, "+plugins=[raw,resident]"], 6),
    "tars": ([*FOLDER, "+plugins=[webdataset]"], 6),
    "tfrecord": ([*FOLDER, "+plugins=[tfrecord]"], 6),
    "remote": ([*PICTURES, f"task.root={FAR}", "+plugins=[remote]"], 6),
    "cached": ([*PICTURES, "task.root=packed", "+plugins=[cache]", "plugins.cache.memory=0", "plugins.cache.path=cache"], 6),
    "resident": ([*PICTURES, "task.root=packed", "+plugins=[resident]", "plugins.resident.cache=tensors"], 6),
}  # fmt: skip
"""By name: the words of the command, and after how many updates it was stopped."""
RANKS = [*POINTS, "task.dropout=0.0", "+plugins=[fsdp,adamw,ema]", "plugins.adamw.lr=0.02", "plugins.ema.decay=0.9"]
STORES = {name: ["--encoding", name] for name in ("original", "jpeg", "tiled", "tiled-lossless", "bmp")} | {
    "pixels": ["--encoding", "raw"], "raw": ["--format", "raw"],
    "shrunk": ["--encoding", "jpeg", "--short-side", "12", "--quality", "80"],
}  # fmt: skip
ALONE = ("--workers", "1")
PACKAGES = ("pillow", "simplejpeg", "opencv-python-headless", "opencv-python")


@contextmanager
def stopped(after: int) -> Iterator[None]:
    """Inside, a run is told to stop after so many updates; 0 for never."""
    due = Saver.due

    def asked(self: Saver, progress: Any) -> bool:
        if progress.step == after:
            os.kill(os.getpid(), signal.SIGTERM)
        return due(self, progress)

    with patch.object(Saver, "due", asked):
        yield


def train(words: Sequence[str], out: str, after: int = 0) -> None:
    """Trains, and sees that it ended, or was stopped."""
    sys.modules.pop("mine", None)
    with stopped(after):
        code = main([*words, "device=cpu", f"out={out}"])
    assert code == (75 if after else 0), (words, code)


def both(name: str, words: list[str], after: int) -> dict[str, Any]:
    """A run that is stopped, what it came to where nobody stops it, and the proof that going on gives the same bits."""
    train(words, f"runs/{name}", after)
    train(words, f"whole/{name}")
    shutil.copytree(f"runs/{name}", "again")
    train([*words, "resume=auto"], "again")
    facts = facts_of(words, after, Path("whole", name))
    assert [digest(Path("again", file)) for file in ("model.safetensors", "metrics.jsonl")] == [facts["weights"], facts["metrics"]]
    shutil.rmtree("again")
    keep(name)
    return facts


def facts_of(words: Sequence[str], after: int, whole: Path) -> dict[str, Any]:
    """What `expected.json` says of a run."""
    return {
        "words": list(words), "stopped": after, "updates": json.loads((whole / "summary.json").read_text())["updates"],
        "weights": digest(whole / "model.safetensors"), "metrics": digest(whole / "metrics.jsonl"),
    }  # fmt: skip


def keep(name: str) -> None:
    """Keeps the final weights and numbers alone of the run that nobody stopped, and of the other no pictures and one checkpoint."""
    Path("final").mkdir(exist_ok=True)
    for file, suffix in (("model.safetensors", "safetensors"), ("metrics.jsonl", "jsonl")):
        shutil.copy(Path("whole", name, file), Path("final", f"{name}.{suffix}"))
    for picture in Path("runs", name).glob("*.svg"):
        picture.unlink()
    for older in sorted(Path("runs", name, "checkpoints").glob("*.json"))[:-1]:
        for file in older.parent.glob(f"{older.stem}.*"):
            shutil.rmtree(file) if file.is_dir() else file.unlink()


def in_python(out: str, after: int) -> None:
    """A run of a script, which has no config.yaml."""
    from mine import Points  # type: ignore[import-not-found]

    from accel.plugins import EMA, AdamW

    plugins = [AdamW(lr=0.02, exclude="norm_and_bias"), EMA(decay=0.9), "accumulate"]
    with stopped(after), suppress(Interrupted):
        Points(hidden=7, plugins=plugins, epochs=5, batch_size=4, seed=5, device="cpu", out=out).fit()


def by_ranks(out: str, after: int) -> None:
    """The same run by two ranks."""
    script = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", __spec__.name]
    done = subprocess.run([*script, str(after), *RANKS, "device=cpu", f"out={out}"], check=False)
    assert (done.returncode == 0) == (after == 0)


def digest(file: Path) -> str:
    """Its sha256."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def stores() -> None:
    """Stores of all encodings, and two that were not finished because a picture could not be read."""
    for kind in ("lmdb", "raw"):
        assert command(["pack", "pictures", "pictures", "--format", kind, *ALONE]) == 0
        with suppress(ConfigError):
            command(["pack", "flawed", "unfinished", "--format", kind, *ALONE])
    Path("packed").mkdir()
    for split in ("train", "val"):
        shutil.copy(f"pictures/{split}.lmdb", "packed")
        writing.write_tars(Path("pictures", split), Path("pictures", split))
        writing.write_records(Path("pictures", split), Path("pictures", split))
    for name, words in STORES.items():
        assert command(["pack", "few", f"stores/{name}", *words, *ALONE]) == 0
    writing.old(Path("."))


def versions() -> dict[str, str]:
    """Of what the name of a cache of pictures is a function of, and of what else the bits depend on."""
    kept = {"python": platform.python_version(), "torch": torch.__version__}
    for package in PACKAGES:
        try:
            kept[package] = version(package)
        except PackageNotFoundError:
            kept[package] = ""
    return kept


def make(folder: Path) -> dict[str, Any]:
    """Everything, in `folder`."""
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    os.environ["XDG_CACHE_HOME"] = str(folder / "home")
    shutil.copy(HERE / "mine.py", folder)
    writing.data()
    publish(Path("pictures"))
    stores()
    runs = {name: both(name, words, after) for name, (words, after) in RUNS.items()}
    for name, words, go in (("ranks", RANKS, by_ranks), ("script", [], in_python)):
        go(f"runs/{name}", 3)
        go(f"whole/{name}", 0)
        runs[name] = facts_of(words, 3, Path("whole", name))
        keep(name)
    for folder_of_others in ("whole", "home/matplotlib"):
        shutil.rmtree(folder_of_others)
    kinds = {"tar": "tar 1 auto cls ", "tfrecord": f"tfrecord 1 {' '.join(NAMES)}"}
    return {"commit": "0c0db42", "versions": versions(), "kinds": kinds, "home": str(folder), "stores": STORES, "runs": runs}


def archive(folder: Path) -> None:
    """Packs the folder, the names sorted."""
    with tarfile.open(HERE / "before.tar.xz", "w:xz", preset=9, format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(folder.rglob("*"), key=lambda path: (path.suffix, path)):
            if path.is_file() and "__pycache__" not in path.parts and not path.name.endswith((".lock", "mine.py")):
                item = tar.gettarinfo(str(path), str(path.relative_to(folder)))
                item.uid = item.gid = 0
                item.uname = item.gname = ""
                with path.open("rb") as stream:
                    tar.addfile(item, stream)


if __name__ == "__main__":
    torch.set_num_threads(1)
    if len(sys.argv) > 1:  # one rank of several
        sys.path.insert(0, os.getcwd())
        with stopped(int(sys.argv[1])):
            sys.exit(main(sys.argv[2:]))
    with tempfile.TemporaryDirectory() as made:
        text = json.dumps(make(Path(made)), indent=1)
        archive(Path(made))
    (HERE / "expected.json").write_text(text + "\n")
