"""A card that was tampered with is a sentence, wherever and however: no field of it is believed before it is looked at."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch

from accel.errors import ConfigError
from accel.export.card import Card
from accel.export.run.sensitivity_table import sensitivity_table
from accel.export.runtime.exported_model import ExportedModel
from accel.export.tensor_info import TensorInfo
from accel.report.record.export_cells import export_name
from accel.report.record.quantisation_lines import quantisation_line
from tests.support.drill_length import times

VALUES: list[Any] = [
    *(None, True, -1, 0, 3, 1e300, "", "x", [], [[]], {}, {"a": 1}, "../../x", ["tensor"], ["value"], float("nan")),
    ["tuple", [[0, ["tensor"]]]], "onnx",
]  # fmt: skip
DELETED = object()


@pytest.fixture
def card(tmp_path: Path) -> dict[str, Any]:
    Card(
        "pt2", "model.pt2", {"model.pt2": {"sha256": "0", "bytes": 1}}, [TensorInfo("x", ("batch", 2), "float32")],
        [TensorInfo("y", ("batch", 2), "float32")], ["tuple", [[0, ["tuple", [[0, ["tensor"]]]]], [1, ["dict", []]]]], ["tensor"],
        None, None, "caller", ["left", "right"], "last", "static",
        {"calibrate": "minmax", "samples": 4, "layers": ["0", "2"], "floats": ["4"], "sensitivity": {"0": 0.1, "4": 0.2}},
    ).write(tmp_path)  # fmt: skip
    content: dict[str, Any] = json.loads((tmp_path / "card.json").read_text())
    return content


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from places(value[key], (*path, key))


class Zeros:
    """In place of a process that runs files."""

    def run(self, inputs: Any) -> Any:
        return type("Call", (), {"outputs": [torch.zeros(len(inputs[0]), 2).numpy()]})


def test_each_value_is_exchanged_for_others(card: dict[str, Any], tmp_path: Path) -> None:
    accepted = refused = 0
    for place in [place for place in places(card) if place and place[0] != "proof"]:
        for value in [*VALUES, DELETED]:
            changed = deepcopy(card)
            owner: Any = changed
            for key in place[:-1]:
                owner = owner[key]
            if value is DELETED:
                del owner[place[-1]]
            else:
                owner[place[-1]] = value
            (tmp_path / "card.json").write_text(json.dumps(changed))
            try:
                read = Card.read(tmp_path)
                accepted += 1
                ExportedModel(read, Zeros(), None)(torch.zeros(3, 2))  # type: ignore[arg-type]
                quantisation_line(read.quantisation)
                assert not read.quantisation or sensitivity_table(read.quantisation)
                assert export_name(read.target, read.variant)
            except ConfigError:
                refused += 1
    assert accepted > 20
    assert refused > 10 * accepted / 4


def test_samples_of_another_size_than_the_file_takes_are_refused(card: dict[str, Any], tmp_path: Path) -> None:
    """Before the engine sees them, whose words name neither size."""
    exported = ExportedModel(Card.read(tmp_path), Zeros(), None)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"takes samples of one size, and x has had 2 and 4; export with dynamic=length, or give"):
        exported(torch.zeros(3, 4))


def test_bytes_are_exchanged_at_random(card: dict[str, Any], tmp_path: Path) -> None:
    draw, text = random.Random(0), json.dumps(card).encode()
    for _ in range(times(500, 20000)):
        changed = bytearray(text)
        for _ in range(draw.randint(1, 4)):
            place = draw.randrange(len(changed))
            letters = bytes(draw.choices(b'{}[]",:01eE-nul', k=draw.randint(0, 3)))
            changed[place : place + draw.choice((0, 1, 20))] = letters
        (tmp_path / "card.json").write_bytes(changed)
        with suppress(ConfigError):
            Card.read(tmp_path)
