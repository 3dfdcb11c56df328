"""Checkpoints that are gone, change, or may not be read."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import pytest
import torch
from torch import Tensor

from accel.checkpoints import FOLDER, find, restore
from accel.engine.training_run import TrainingRun
from accel.errors import AccelWarning, ConfigError
from accel.plugins.adamw import AdamW
from accel.system import faults
from accel.testing import fit_toy
from tests.support.checkpoint_damage import two


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


@pytest.mark.slow
def test_a_checkpoint_takes_no_memory_until_its_state_is_asked_for_and_its_pieces_are_let_go_of(run: Path) -> None:
    done = fit_toy([AdamW()], epochs=3, resume=run)
    before = alive()
    actual = find("auto", run)
    assert actual is not None
    assert alive() == before
    state = actual.state()
    assert alive() > before
    restore(cast(TrainingRun, done.spy.run), state)
    assert "model" not in state
    assert not any(state["parts"].values())


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
    for typed, message in (
        ("atuo", "atuo does not exist; did you mean 'auto'?"),
        ("", "nothing is named"),
        (str(new.with_suffix(".json")), f"name {new}"),
    ):
        with pytest.raises(ConfigError) as error:
            find(typed, None)
        assert message in str(error.value)
    with pytest.raises(ConfigError, match="is a file; name a directory"):
        find("auto", new)
    actual = find(str(run / FOLDER), None)
    assert actual is not None
    assert actual.file == new
