"""What an offline run of wandb has, read from its file: leveldb's log of wandb's own records."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK, HEAD = 32768, 7


def records(path: Path) -> Iterator[Any]:
    """Yield the records of a .wandb file. A record that a kill has torn is the last."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, record = path.read_bytes(), HEAD, b""
    while place + HEAD <= len(data):
        left = BLOCK - place % BLOCK
        if left < HEAD:
            place += left
            continue
        length, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        piece = data[place + HEAD : place + HEAD + length]
        if len(piece) < length:
            return
        place, record = place + HEAD + length, (record if kind in (3, 4) else b"") + piece
        if kind in (1, 4):
            parsed = Record()
            parsed.ParseFromString(record)
            yield parsed


def history(path: Path) -> list[dict[str, float]]:
    """The rows of the history: numbers by name, `_step` among them."""
    rows = [record.history.item for record in records(path) if record.WhichOneof("record_type") == "history"]
    return [{item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in row} for row in rows]


def offline_runs(out: Path) -> dict[str, list[dict[str, float]]]:
    """The history of each offline run in a run directory, by the name of its directory."""
    return {path.parent.name: history(path) for path in sorted(out.glob("wandb/offline-run-*/*.wandb"))}
