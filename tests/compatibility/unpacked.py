"""What the fixtures hold, and where they are unpacked."""

from __future__ import annotations

import json
import shutil
import tarfile
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

HERE = Path(__file__).with_name("before_0_1")
FAR = "memory://before"
"""A URL at which the pictures are."""
WHEN = 1_700_000_000
"""The time of change of every file, in seconds: indices, journals and caches are functions of it."""
QUICK = ["device=cpu", "plugins.metrics.curves=false"]
"""Of no run a part: where it computes, and that nothing is drawn."""


def expected() -> dict[str, Any]:
    """What `make_fixtures` says of them."""
    text: dict[str, Any] = json.loads((HERE / "expected.json").read_text())
    return text


def unpack(home: Path) -> None:
    """Everything, and the indices of shards under the names that belong to this place."""
    with tarfile.open(HERE / "before.tar.xz") as tar:
        tar.extractall(home, filter="data")
    shutil.copy(HERE / "mine.py", home)
    facts = expected()
    for shard in [*home.glob("pictures/*.tar"), *home.glob("pictures/*.tfrecord")]:
        kind = facts["kinds"][shard.suffix[1:]]
        was = index(kind, Path(facts["home"], shard.relative_to(home)), shard)
        (home / "home/accel/shards" / was).rename(home / "home/accel/shards" / index(kind, shard, shard))


def index(kind: str, place: Path, shard: Path) -> str:
    """What the index of a shard at a place is called."""
    facts = shard.stat()
    text = f"{kind}\0{place}\0{facts.st_size} {facts.st_mtime_ns}"
    return f"{sha256(text.encode()).hexdigest()[:40]}.index"


def publish(folder: Path, blank: bool = False) -> None:
    """Puts the pictures of a folder at `FAR`, as old as they always were; or files of their sizes, for who need not read them."""
    import fsspec

    system = fsspec.filesystem("memory")
    system.store.clear()
    for path in sorted(folder.rglob("*.jpg")):
        place = f"/{FAR.removeprefix('memory://')}/{path.relative_to(folder).as_posix()}"
        system.pipe(place, bytes(path.stat().st_size) if blank else path.read_bytes())
        system.store[place].created = datetime.fromtimestamp(WHEN, UTC)
