"""Malicious checkpoints: nothing in them is executed, nothing is written elsewhere."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
import torch

from accel.checkpoints import FoundCheckpoint, damage, find
from accel.checkpoints.discovery import load
from accel.checkpoints.manifest import Damaged, Manifest, _dump, _seal
from accel.errors import AccelWarning, ConfigError
from accel.plugins.adamw import AdamW
from accel.testing import fit_toy
from tests.support.checkpoint_damage import two


def forge(file: Path, state: Any = None, **content: Any) -> None:
    """Writes a checkpoint as whoever has read the source can: with the right hashes and the right seal."""
    if state is not None:
        file.write_bytes(state if isinstance(state, bytes) else pickled(state))
    record = Manifest.read(file.with_suffix(".json"))
    facts = {"sha256": hashlib.sha256(file.read_bytes()).hexdigest(), "bytes": file.stat().st_size}
    record.files = {file.name: facts}
    for name, value in content.items():
        setattr(record, name, value)
    file.with_suffix(".json").write_text(record.text())


def pickled(state: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


class Gadget:
    """Executes a command when it is unpickled."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.function, self.args = function, args

    def __reduce__(self) -> Any:
        return self.function, self.args


@pytest.mark.parametrize("where", ["alone", "raw", "inside", "key", "tensor"])
@pytest.mark.parametrize("function", ["system", "exec", "import", "open"])
def test_nothing_in_a_checkpoint_is_executed(where: str, function: str, run: Path, tmp_path: Path) -> None:
    _, new = two(run)
    trap = tmp_path / "trap"
    gadget = {
        "system": Gadget(os.system, f"touch {trap}"), "exec": Gadget(exec, f"open({str(trap)!r}, 'w')"),
        "import": Gadget(__import__, "this"), "open": Gadget(open, str(trap), "w"),
    }[function]  # fmt: skip
    good = torch.load(new, weights_only=True)
    state: Any = {
        "alone": gadget, "raw": pickle.dumps(gadget), "inside": good | {"history": [gadget]}, "key": good | {"rng": {1: gadget}},
        "tensor": good | {"model": {"weight": torch.ones(1), "_target_": gadget}},
    }[where]  # fmt: skip
    forge(new, state)
    assert damage(new) is None, "the hashes are right: only loading shows it"
    with pytest.raises(ConfigError, match="holds something else than tensors and plain values, and nothing of it was loaded"):
        find(str(new), None)
    actual = find("auto", run)
    assert isinstance(actual, FoundCheckpoint)
    assert list(actual.skipped) == [new.stem]
    assert not trap.exists()


def test_a_checkpoint_that_would_unpack_to_more_than_it_is_never_unpacked(run: Path) -> None:
    _, new = two(run)
    packed = io.BytesIO()
    with ZipFile(new) as whole, ZipFile(packed, "w", ZIP_DEFLATED) as bomb:
        for one in whole.infolist():
            with whole.open(one) as stored:
                stored._expected_crc = None  # type: ignore[attr-defined] # torch writes none
                bomb.writestr(one.filename, stored.read() + bytes(1 << 16) * ("/data/" in one.filename))
    new.write_bytes(packed.getvalue())
    forge(new)
    with pytest.raises(Damaged, match="says that it is larger than it is, and nothing of it was loaded"):
        load(new)


def test_a_target_in_it_is_a_text(run: Path, tmp_path: Path) -> None:
    """`_target_` makes Hydra call things; a checkpoint never gets that far."""
    _, new = two(run)
    trap = {"_target_": "os.system", "_args_": [f"touch {tmp_path / 'trap'}"]}
    good = torch.load(new, weights_only=True)
    forge(new, good | {"parts": good["parts"] | {"mine": trap}}, identity=Manifest.read(new.with_suffix(".json")).identity)
    with pytest.warns(AccelWarning, match="has a state of mine, of which this run has no part"):
        fit_toy([AdamW()], epochs=3, resume=new)
    forge(two(run)[0], identity={"seed": trap, "plugins": {"adamw": trap}})
    with pytest.raises(ConfigError, match=r"seed was .* and is now 3"):
        fit_toy([AdamW()], epochs=3, resume=two(run)[0])
    assert not (tmp_path / "trap").exists()


NAME = "update-00000012-epoch-0002"
GOOD = {"sha256": "0" * 64, "bytes": 1}
SIZES = {"batch_size": 4, "micro": 1, "ranks": 1, "ready": False}


@pytest.mark.parametrize(
    "content",
    [
        {"progress": {"step": 10**400, "epoch": 2, "batch": 0, "samples": 44}}, {"progress": {"step": -12}}, {"progress": None},
        {"progress": {"step": 12.0, "epoch": 2, "batch": 0, "samples": 44}}, {"progress": [12, 2, 0, 44]},
        {"progress": {"step": True, "epoch": 2, "batch": 0, "samples": 44}},
        {"progress": {"step": 12, "epoch": 2, "batch": 0, "samples": 44, "__class__": 1}},
        {"files": {}}, {"files": None}, {"files": {f"{NAME}.pt": None}}, {"files": {f"{NAME}.pt": {"sha256": 1, "bytes": 1}}},
        {"files": {f"{NAME}.pt": GOOD, "../../../etc/passwd": GOOD}}, {"files": {f"{NAME}.pt": GOOD, "/etc/passwd": GOOD}},
        {"files": {f"{NAME}.pt": GOOD, f"{NAME}.dcp/../../../x": GOOD}}, {"files": {f"{NAME}.pt": GOOD, "": GOOD}},
        {"files": {f"{NAME}.pt": GOOD, f"{NAME}.a\0b": GOOD}}, {"files": {f"{NAME}.pt": GOOD, f"{NAME}.\\..\\x": GOOD}},
        {"files": {"update-00000006-epoch-0001.pt": GOOD}}, {"identity": []}, {"metrics": {"loss": float("inf")}},
        {"sizes": {}}, {"sizes": SIZES | {"batch_size": "4"}}, {"sizes": SIZES | {"ranks": 0}}, {"sizes": SIZES | {"micro": 9**30}},
        {"sizes": SIZES | {"ready": 0}}, {"sizes": SIZES | {"more": 1}},
        {"metrics": {"loss": "0"}}, {"finite": 1}, {"versions": {"torch": {"_target_": "os.system"}}}, {"more": 1},
    ],
    ids=str,
)  # fmt: skip
def test_a_sealed_record_of_nonsense_is_damage(content: dict[str, Any], run: Path) -> None:
    _, new = two(run)
    about = json.loads(new.with_suffix(".json").read_text())
    about.pop("seal")
    about |= content
    new.with_suffix(".json").write_text(_dump({**about, "seal": _seal(about)}))
    assert damage(new) in ("has a .json that accel did not write", "has a damaged .json")
    actual = find("auto", run)
    assert actual is not None
    assert list(actual.skipped) == [NAME]


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "{", '{"schema": 2}', "[" * 100_000, '{"schema": ' + "9" * 5000 + "}", "\0", '{"schema": [2]}', "\ud800"],
    ids=range(10),
)
def test_a_record_that_is_none_is_damage(text: str, run: Path) -> None:
    _, new = two(run)
    new.with_suffix(".json").write_bytes(text.encode(errors="surrogatepass"))
    assert str(damage(new)).startswith(("has a damaged .json", "is of another accel"))


def test_another_schema_is_refused_with_a_sentence(run: Path) -> None:
    _, new = two(run)
    about = json.loads(new.with_suffix(".json").read_text())
    for schema, fix in ((1, "begin the run anew"), (3, "go on with the accel that wrote it")):
        new.with_suffix(".json").write_text(json.dumps(about | {"schema": schema}))
        with pytest.raises(ConfigError, match=rf"is of another accel \(its schema is {schema}, and 2 is read here\); {fix}"):
            find(str(new), None)


def test_a_link_out_of_the_folder_is_no_checkpoint(run: Path, tmp_path: Path) -> None:
    _, new = two(run)
    elsewhere = tmp_path / "elsewhere.pt"
    new.rename(elsewhere)
    new.symlink_to(elsewhere)
    assert damage(new) == f"is not whole ({new.name} is a link, and links are not followed; put the file in its place)"


@pytest.mark.parametrize(
    "change",
    [lambda state: state.pop("rng"), lambda state: state["rng"].update(now={}), lambda state: state.update(parts=[1]),
     lambda state: state.update(history=3), lambda state: state["rng"]["now"].update(cpu=torch.ones(3)),
     lambda state: state["rng"]["now"].update(python=[1]), lambda state: state.update(model=[])],
)  # fmt: skip
def test_a_state_of_another_shape_is_refused_with_a_sentence(change: Callable[[Any], Any], run: Path) -> None:
    _, new = two(run)
    state = torch.load(new, weights_only=True)
    change(state)
    forge(new, state)
    with pytest.raises(ConfigError, match="the checkpoint is of another model or optimiser"):
        fit_toy([AdamW()], epochs=3, resume=new)
