"""What no other test of saving looks at: its named places, late errors, limits of a record, and copies of odd tensors."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

from accel.checkpoints import FOLDER
from accel.checkpoints.fault_points import SAVING
from accel.checkpoints.manifest import Damaged, Manifest
from accel.checkpoints.sharded import load_sharded, save_sharded, split_sharded
from accel.checkpoints.snapshot import Snapshot
from accel.checkpoints.state import capture, restore
from accel.checkpoints.state_kinds import check_kinds, check_tensors
from accel.checkpoints.weights.best_weights import BEST
from accel.errors import AccelWarning
from accel.plugins.cosine import Cosine
from accel.system.faults import armed
from accel.testing import fit_toy
from tests.support.keeps_saver import KeepsSaver
from tests.support.single_process_group import single_process_group


def test_a_run_passes_every_named_place_of_saving(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    passed: list[str] = []
    for place in SAVING:
        monkeypatch.setitem(armed, place, lambda place=place: passed.append(place))
    fit_toy([], out=tmp_path / "run", checkpoint_every=1, epochs=2)
    assert set(passed) == set(SAVING)


def test_an_error_of_the_last_checkpoint_does_not_hide_that_of_the_run(tmp_path: Path) -> None:
    watch = KeepsSaver()
    fit_toy([watch], out=tmp_path / "run", checkpoint_every=2)
    saver = watch.saver
    saver.error = RuntimeError("not of the disk")
    with pytest.warns(AccelWarning, match=rf"the checkpoint {saver.last_tried} could not be saved: not of the disk"):
        saver.close()
    saver.close()


def test_best_weights_of_a_course_that_was_left_are_removed(tmp_path: Path) -> None:
    watch = KeepsSaver()
    fit_toy([watch], out=tmp_path / "run", checkpoint_every=2, checkpoint_best="loss")
    saver = watch.saver
    file = tmp_path / "run" / BEST
    assert file.exists()
    assert saver.outdated_best(saver.last_saved) == ""
    assert file.exists()
    assert saver.outdated_best("") == ""
    assert not file.exists()


@pytest.mark.parametrize(
    ("change", "good"),
    [
        (lambda manifest: manifest.progress.update(samples=2**63 - 1), True),
        (lambda manifest: manifest.progress.update(samples=2**63), False),
        (lambda manifest: manifest.progress.update(samples=-1), False),
        (lambda manifest: manifest.sizes.update(micro=2**31 - 1), True),
        (lambda manifest: manifest.sizes.update(micro=2**31), False),
        (lambda manifest: manifest.sizes.update(micro=0), False),
    ],
)
def test_numbers_that_accel_never_writes_are_damage(change: Any, good: bool, tmp_path: Path) -> None:
    fit_toy([], out=tmp_path / "run", checkpoint_every=2)
    path = min((tmp_path / "run" / FOLDER).glob("*.json"))
    manifest = Manifest(**asdict(Manifest.read(path)))
    change(manifest)
    if good:
        manifest.check(path.stem)
    else:
        with pytest.raises(Damaged, match="that accel did not write"):
            manifest.check(path.stem)


def test_a_snapshot_of_a_sparse_tensor_is_its_own() -> None:
    live = torch.eye(3).to_sparse().coalesce()
    taken = Snapshot(torch.device("cpu")).take({"sparse": live})["sparse"]
    live.values().fill_(7)
    assert torch.equal(taken.to_dense(), torch.eye(3))


@pytest.mark.parametrize(("plugins", "counts"), [([], False), ([Cosine()], True)])
def test_the_length_of_a_run_is_part_of_what_it_computes_where_it_has_a_schedule(
    plugins: list[Any], counts: bool, tmp_path: Path
) -> None:
    fit_toy(plugins, out=tmp_path / "run", checkpoint_every=2)
    for path in (tmp_path / "run" / FOLDER).glob("*.json"):
        assert ("updates" in Manifest.read(path).identity) == counts


KINDS = [[True, False], [1, 2.5, torch.tensor(3.0), torch.tensor([4])], [torch.zeros(2), torch.zeros(3, 4)], ["a", "b"]]


def test_values_of_one_kind_take_each_others_place_and_no_others() -> None:
    values = [(number, value) for number, group in enumerate(KINDS) for value in group]
    for kind, saved in values:
        check_kinds({"a": [saved]}, {"a": [None]})
        for other, fresh in values:
            if kind == other:
                check_kinds({"a": [saved]}, {"a": [fresh], "b": 1})
            else:
                with pytest.raises(ValueError, match=r"a\[0\] is a \w+, and a \w+ is wanted"):
                    check_kinds({"a": [saved]}, {"a": [fresh]})


def test_tensors_without_memory_are_found_wherever_they_lie() -> None:
    bad = torch.empty(2, device="meta")
    good = {"a": [torch.ones(2), (1, "x")], "b": {"c": torch.ones(1)}, "d": None}
    check_tensors(good)
    for state in ({"a": [1, bad]}, {"b": {"c": bad}}, {"b": {"c": (bad,)}}):
        with pytest.raises(ValueError, match=r"^[ab][.\[\w\]]* is a tensor of a kind that is never saved"):
            check_tensors(state)


@pytest.mark.parametrize(
    "change",
    [{"history": [{"epoch": "one"}]}, {"history": [1]}, {"history": None}, {"parts": []}, {"model": None}],
)
def test_a_state_of_other_contents_is_refused(change: dict[str, Any]) -> None:
    run = fit_toy([]).spy.run
    state = capture(run, run.progress)
    with pytest.raises(ValueError, match="it has other contents"):
        restore(run, state | change)


def test_shards_of_a_rank_are_read_back_from_a_folder_of_files(tmp_path: Path) -> None:
    with single_process_group():
        mesh = init_device_mesh("cpu", (1,))
        whole = torch.arange(12.0).view(4, 3)
        rest, pieces = split_sharded({"a": distribute_tensor(whole, mesh, [Shard(0)]), "b": 3})
        assert rest["b"] == 3
        save_sharded(pieces, tmp_path / "shards")
        assert sorted(path.name for path in (tmp_path / "shards").iterdir()) == ["shard-00001-model-00001-of-00001.safetensors"]
        loaded = load_sharded(rest, tmp_path / "shards", mesh)
        assert torch.equal(loaded["a"].full_tensor(), whole)
