"""Damaged and malicious checkpoints: none is loaded in silence, nothing in them is executed, nothing is written elsewhere."""

from __future__ import annotations

import gc
import hashlib
import io
import json
import os
import pickle
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
import torch
from torch import Tensor

from accel.checkpoints import FOLDER, FoundCheckpoint, damage, find, restore
from accel.checkpoints.discovery import load
from accel.checkpoints.manifest import Damaged, Manifest, _dump, _seal
from accel.engine.training_run import TrainingRun
from accel.errors import AccelWarning, ConfigError
from accel.plugins.adamw import AdamW
from accel.system import faults
from accel.testing import fit_toy
from tests.support.drill_length import times


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three epochs that was stopped, with the checkpoints of two."""
    run = tmp_path_factory.mktemp("made") / "run"
    fit_toy([AdamW()], epochs=3, out=run, stop=13)
    return run


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "run"))


def two(run: Path) -> tuple[Path, Path]:
    """The .pt of the older and the newer checkpoint."""
    old, new = sorted((run / FOLDER).glob("*.pt"))
    return old, new


def flip(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def cut(path: Path, rng: random.Random) -> None:
    os.truncate(path, rng.randrange(path.stat().st_size))


def zero(path: Path, rng: random.Random) -> None:
    start = rng.randrange(path.stat().st_size - 16)
    data = bytearray(path.read_bytes())
    while not any(data[start : start + 16]):
        start = rng.randrange(len(data) - 16)
    data[start : start + 16] = bytes(16)
    path.write_bytes(data)


def grow(path: Path, rng: random.Random) -> None:
    with path.open("ab") as stream:
        stream.write(rng.randbytes(1 + rng.randrange(100)))


def swap(path: Path, rng: random.Random) -> None:
    other = next(file for file in path.parent.glob(f"*{path.suffix}") if file != path)
    spare = path.with_name("spare")
    path.rename(spare)
    other.rename(path)
    spare.rename(other)


def other_kind(path: Path, rng: random.Random) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: list[Callable[[Path, random.Random], None]] = [flip, cut, zero, grow, flip, other_kind]


def test_no_damage_is_loaded_in_silence(made: Path, tmp_path: Path) -> None:
    rng, fallen_back = random.Random(5), 0
    for number in range(times(100, 2000)):
        run = Path(shutil.copytree(made, tmp_path / "run"))
        old, new = two(run)
        path = rng.choice([new, new.with_suffix(".json")])
        rng.choice(DAMAGES)(path, rng)
        found = find("auto", run)
        assert found is not None, f"damage {number}"
        assert found.file == old, f"damage {number}: {path.name} was taken"
        assert list(found.skipped) == [new.stem], f"damage {number}"
        with pytest.raises((ConfigError, Damaged)):
            load(new)
        fallen_back += 1
        shutil.rmtree(run)
    assert fallen_back == times(100, 2000)


@pytest.mark.parametrize("suffix", [".pt", ".json"])
def test_a_swapped_pair_is_no_pair(run: Path, suffix: str) -> None:
    swap(two(run)[1].with_suffix(suffix), random.Random(0))
    with pytest.raises(ConfigError, match=r"none of 2 checkpoints in .* is whole"):
        find("auto", run)


def test_a_whole_pair_under_another_name_is_not_what_its_name_says(run: Path) -> None:
    old, new = two(run)
    for suffix in (".pt", ".json"):
        new.with_suffix(suffix).unlink()
        shutil.copy(old.with_suffix(suffix), new.with_suffix(suffix))
    assert damage(new) == "has a .json that accel did not write", "it names the files of another"
    assert damage(old) is None


def test_it_says_what_it_skipped_and_goes_on(run: Path) -> None:
    old, new = two(run)
    flip(new, random.Random(1))
    with pytest.warns(AccelWarning, match=rf"skipped {new.stem}: it is damaged \(its sha256 differs\); going on from {old.stem}"):
        done = fit_toy([AdamW()], epochs=3, resume=run)
    assert done.spy.run.plan.facts["resume"].endswith(f"skipped {new.stem}, which is damaged (its sha256 differs)")
    assert json.loads((run / "plan.json").read_text())["facts"]["resume"] == done.spy.run.plan.facts["resume"]
    whole = fit_toy([AdamW()], epochs=3)
    assert all(map(torch.equal, done.weights, whole.weights))


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
    found = find("auto", run)
    assert isinstance(found, FoundCheckpoint)
    assert list(found.skipped) == [new.stem]
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
    found = find("auto", run)
    assert found is not None
    assert list(found.skipped) == [NAME]


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


def test_a_run_whose_first_save_was_cut_off_begins_again_and_one_that_lost_all_does_not(run: Path) -> None:
    for file in (run / FOLDER).glob("*.json"):
        file.unlink()
    assert find("auto", run) is None
    with pytest.raises(ConfigError, match=r"none of 2 checkpoints in .* is whole; update-00000012-epoch-0002 was never finished"):
        find(str(run), None)
    with pytest.warns(AccelWarning, match="holds no checkpoint yet; the run begins"):
        fit_toy([AdamW()], epochs=3, out=run, resume=Path("auto"))
    assert find("auto", run) is not None


def alive() -> int:
    """How many bytes of tensors there are."""
    gc.collect()
    dense = [one.untyped_storage() for one in gc.get_objects() if type(one) is Tensor and one.layout == torch.strided]
    return sum({storage.data_ptr(): storage.nbytes() for storage in dense}.values())


def test_a_checkpoint_takes_no_memory_until_its_state_is_asked_for_and_its_pieces_are_let_go_of(run: Path) -> None:
    done = fit_toy([AdamW()], epochs=3, resume=run)
    before = alive()
    found = find("auto", run)
    assert found is not None
    assert alive() == before
    state = found.state()
    assert alive() > before
    restore(cast(TrainingRun, done.spy.run), state)
    assert "model" not in state
    assert not state["parts"]


def test_one_that_changes_after_it_was_found_is_refused_in_a_sentence(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new = two(run)[1]
    monkeypatch.setitem(faults.armed, "resuming.compared", lambda: new.write_bytes(b"none"))
    with pytest.raises(ConfigError, match=rf"{new.stem} was whole when it was found, and now holds something else than tensors"):
        fit_toy([AdamW()], epochs=3, resume=run)


@pytest.mark.parametrize("what", [".pt", ".json", "folder"])
def test_one_that_may_not_be_read_is_not_passed_over(what: str, made: Path) -> None:
    with TemporaryDirectory() as folder:  # pytest's own are closed to others
        Path(folder).chmod(0o755)
        run = Path(shutil.copytree(made, Path(folder, "run")))
        new = two(run)[1]
        (run / FOLDER if what == "folder" else new.with_suffix(what)).chmod(0)
        for typed, out in (("auto", run), (str(run), None), (str(new), None)):
            with another_user(), pytest.raises(ConfigError, match=r"may not be read \(Permission denied\); let this user read it"):
                find(typed, out)


@contextmanager
def another_user() -> Iterator[None]:
    """Root may read everything."""
    me = os.geteuid()
    if me == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        if me == 0:
            os.seteuid(me)


def test_what_is_named_wrongly_is_told_from_what_is_not_there(run: Path) -> None:
    new = two(run)[1]
    for typed, said in (
        ("atuo", "atuo does not exist; did you mean 'auto'?"),
        ("", "nothing is named"),
        (str(new.with_suffix(".json")), f"name {new}"),
    ):
        with pytest.raises(ConfigError) as error:
            find(typed, None)
        assert said in str(error.value)
    with pytest.raises(ConfigError, match="is a file; name a directory"):
        find("auto", new)
    found = find(str(run / FOLDER), None)
    assert found is not None
    assert found.file == new
