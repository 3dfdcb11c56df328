"""What backend sets of the process on a CPU: kept memory, threads, cores, denormal numbers. All of it comes back."""

import os
from pathlib import Path

import pytest
import torch

from accel.device.cpu import machine_switches, thread_trial
from accel.device.cpu.denormals import flushes_denormals
from accel.errors import ConfigError
from accel.plugins.backend import Backend
from accel.system.cpu.kept_memory import KEPT_MEMORY, obstacle
from accel.testing import fit_toy

glibc = pytest.mark.skipif(bool(obstacle()), reason="needs glibc")
GB = 2**30
CPU = torch.device("cpu")


class Look(Backend):
    """Backend that remembers what the plan says, and whether memory is kept meanwhile."""

    def plan_notes(self):  # type: ignore[no-untyped-def]
        self.plan = dict(super().plan_notes())
        self.keeping = KEPT_MEMORY.users
        return self.plan


def free(monkeypatch: pytest.MonkeyPatch, available: int | None, total: int = 16 * GB) -> None:
    """Let the machine have so much memory."""
    monkeypatch.setattr(machine_switches, "free_memory", lambda: available)
    monkeypatch.setattr(machine_switches, "total_memory", lambda: total)


@glibc
@pytest.mark.parametrize("stop", [0, 2])
def test_memory_is_kept_for_the_run_alone_and_no_bit_changes(stop: int, monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 8 * GB)
    look = Look()
    kept, given = fit_toy([look], stop=stop), fit_toy([Backend(memory="system")], stop=stop)
    assert look.keeping == 1
    assert look.plan["freed memory"] == "kept for the next update"
    assert KEPT_MEMORY.users == 0, "put back, also after an error"
    assert all(torch.equal(one, two) for one, two in zip(kept.weights, given.weights, strict=True))


@pytest.mark.parametrize(
    ("available", "ranks", "reason"),
    [(GB, 1, "1.0 GB are free, and it takes 2"), (3 * GB, 2, "1.5 GB are free for each of 2 ranks"), (None, 1, "does not tell")],
)
def test_auto_gives_memory_back_where_there_is_little(
    available: int | None, ranks: int, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    free(monkeypatch, available)
    monkeypatch.setattr(machine_switches, "obstacle", lambda: "")
    monkeypatch.setattr(machine_switches, "local_ranks", lambda: ranks)
    backend = Look()
    fit_toy([backend])
    assert reason in backend.plan["freed memory"]
    assert backend.keeping == 0


@pytest.mark.parametrize("setting", ["auto", "keep"])
def test_an_obstacle_is_in_the_plan_and_a_warning_where_it_was_asked_for(setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_switches, "obstacle", lambda: "only glibc has the thresholds, and this is darwin")
    backend = Look(memory=setting)  # type: ignore[arg-type]
    if setting == "keep":
        with pytest.warns(UserWarning, match="memory=keep has no effect: only glibc"):
            fit_toy([backend])
    else:
        fit_toy([backend])
    assert "this is darwin" in backend.plan["freed memory"]


def test_auto_leaves_runs_on_a_gpu_alone() -> None:
    switches = machine_switches.MachineSwitches()
    switches.keep_memory("auto", torch.device("cuda"))
    assert KEPT_MEMORY.users == 0
    assert switches.notes == {}


@glibc
@pytest.mark.parametrize(("setting", "users"), [("auto", 0), ("keep", 1)])
def test_memory_that_runs_short_is_given_back_early(setting: str, users: int, monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 8 * GB)
    backend = Backend(memory=setting)  # type: ignore[arg-type]
    backend.apply(CPU)
    try:
        backend.check_machine(1)
        assert KEPT_MEMORY.users == 1
        free(monkeypatch, GB)
        backend.check_machine(3)
        assert KEPT_MEMORY.users == 1, "looked at after updates 1, 2, 4, 8"
        backend.check_machine(4)
        backend.check_machine(8)
        assert KEPT_MEMORY.users == users
        assert ["after update 4" in note for note in backend.summary_notes()] == [True] * (1 - users)
    finally:
        backend.restore()
    assert KEPT_MEMORY.users == 0


@pytest.mark.skipif(not torch.set_flush_denormal(False), reason="this CPU has no such switch")
def test_denormal_numbers_are_flushed_for_the_run_alone() -> None:
    seen = []

    class Check(Look):
        def check_machine(self, step: int) -> None:
            seen.append(flushes_denormals())

    fit_toy([Check(flush_denormals=True)], stop=2)
    assert set(seen) == {True}
    assert not flushes_denormals()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
def test_ranks_have_their_share_of_the_cores_for_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.sched_getaffinity(0)
    monkeypatch.setattr(machine_switches, "local_ranks", lambda: 2)
    monkeypatch.setattr(machine_switches, "local_rank", lambda: 1)
    backend = Backend(cores="split")
    backend.apply(CPU)
    try:
        if len(before) > 1:
            assert len(os.sched_getaffinity(0)) == len(before) // 2
            assert "share 2 of 2" in backend.plan_notes()["cores"]
        else:
            assert backend.machine.unused == ["backend.cores=split has no effect: 2 ranks have 1 cores"]
    finally:
        backend.restore()
    assert os.sched_getaffinity(0) == before


@pytest.mark.parametrize("obstacle", ["GOMP_CPU_AFFINITY", "OMP_PROC_BIND", "refusal"])
def test_what_hinders_pinning_is_told(obstacle: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(cores: object, is_split: bool) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(machine_switches, "local_ranks", lambda: 1 + (len(os.sched_getaffinity(0)) > 1))
    monkeypatch.setattr(machine_switches.RANK_CORES, "move", refuse)
    if obstacle != "refusal":
        monkeypatch.setenv(obstacle, "1")
    switches = machine_switches.MachineSwitches()
    switches.pin()
    reason = "Operation not permitted" if obstacle == "refusal" else obstacle
    assert reason in switches.unused[0] or "one rank" in switches.unused[0]


def test_one_rank_has_all_cores_and_is_told() -> None:
    with pytest.warns(UserWarning, match="cores=split has no effect: there is one rank"):
        fit_toy([Backend(cores="split")])


def test_the_number_of_threads_is_tried_kept_and_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread_trial, "TRIAL_SECONDS", 0.0)
    monkeypatch.setattr(thread_trial, "TINY", 1e9)  # however busy the machine is
    monkeypatch.setattr("accel.plugins.backend.fewest_near_best", lambda times: 1)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        look = Look(threads="auto")
        whole = fit_toy([look])
        assert look.plan["threads"].count(" took ") == 2
        assert torch.get_num_threads() == 2
        fit_toy([Look(threads="auto")], out=tmp_path / "run", stop=4, checkpoint_every=2)
        torch.set_num_threads(3)
        again = Look(threads="auto")
        rest = fit_toy([again], resume=tmp_path / "run")
        assert again.plan["threads"] == "1, as the run began"
        assert all(torch.equal(one, two) for one, two in zip(whole.weights, rest.weights, strict=True))
    finally:
        torch.set_num_threads(before)


def test_what_changes_no_bit_is_no_part_of_the_run(tmp_path: Path) -> None:
    assert Backend(memory="keep", cores="split").identity() == Backend().identity()
    assert "flush_denormals" not in Backend().identity(), "nor was it in older checkpoints"
    fit_toy([Backend()], out=tmp_path / "run", stop=2, checkpoint_every=1)
    with pytest.raises(ConfigError, match="flush_denormals"):
        fit_toy([Backend(flush_denormals=True)], resume=tmp_path / "run")
