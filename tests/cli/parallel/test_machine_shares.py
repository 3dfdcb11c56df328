"""What each of several jobs has of a machine: pure functions of its cores and GPUs."""

from __future__ import annotations

import os

import pytest

from accel.cli.compose.compose import compose
from accel.cli.parallel import joblib_launcher
from accel.cli.parallel.joblib_launcher import JoblibLauncher
from accel.cli.parallel.machine_shares import MachineShare, gpus_of_job, share_machine
from accel.errors import ConfigError
from accel.system import machine

DEFAULTS = {"_target_": "x", "n_jobs": -1, "backend": None, "prefer": "processes"}


@pytest.mark.parametrize(
    ("count", "cores", "gpus", "environ", "expected"),
    [
        (2, 4, [], {}, [((0, 1), 2, ()), ((2, 3), 2, ())]),
        (3, 4, [], {}, [((0, 1), 1, ()), ((2,), 1, ()), ((3,), 1, ())]),
        (3, 2, [], {}, [((), 1, ())] * 3),
        (2, 4, [], {"OMP_NUM_THREADS": "4"}, [((), None, ())] * 2),
        (2, 4, [], {"OMP_PLACES": "cores"}, [((), 2, ())] * 2),
        (2, 4, ["0", "1"], {}, [((0, 1), 2, ("0",)), ((2, 3), 2, ("1",))]),
        (3, 3, ["4", "7"], {}, [((0,), 1, ("4",)), ((1,), 1, ("7",)), ((2,), 1, ("4",))]),
    ],
)
def test_cores_and_gpus_are_divided(
    count: int, cores: int, gpus: list[str], environ: dict[str, str], expected: list[tuple[tuple[int, ...], int | None, tuple[str]]]
) -> None:
    assert share_machine(count, range(cores), gpus, environ) == [MachineShare(*each) for each in expected]


def test_a_system_that_cannot_pin_divides_threads_alone() -> None:
    assert share_machine(2, range(4), [], {}, can_pin=False) == [MachineShare((), 2, ())] * 2


@pytest.mark.parametrize(
    ("number", "each", "expected"), [(0, 1, ["a"]), (2, 1, ["c"]), (3, 1, ["a"]), (1, 2, ["c", "a"]), (0, 8, ["a", "b", "c"])]
)
def test_a_job_has_gpus_of_its_own_while_there_are_enough(number: int, each: int, expected: list[str]) -> None:
    assert gpus_of_job(["a", "b", "c"], number, each) == expected
    assert gpus_of_job([], number, each) == []


@pytest.mark.parametrize(
    ("n_jobs", "jobs", "units", "places"),
    [(2, 4, 8, 2), (-1, 4, 2, 2), (-1, 3, 8, 3), (-2, 9, 4, 3), (-9, 4, 2, 1), (None, 4, 8, 1), (16, 4, 2, 4)],
)
def test_jobs_at_a_time_are_counted_as_joblib_counts_them(n_jobs: int | None, jobs: int, units: int, places: int) -> None:
    launcher = JoblibLauncher.of({**DEFAULTS, "n_jobs": n_jobs}, DEFAULTS, "accel")
    assert launcher.places(jobs, units) == places


def test_settings_of_joblibs_own_processes_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"hydra\.launcher\.backend=threading has no effect: each job is a process of its own"):
        JoblibLauncher.of({**DEFAULTS, "backend": "threading"}, DEFAULTS, "accel")
    for wrong in (0, "two"):
        with pytest.raises(ConfigError, match=f"n_jobs must be a number of jobs, or -1 for as many as fit, not {wrong}"):
            JoblibLauncher.of({**DEFAULTS, "n_jobs": wrong}, DEFAULTS, "accel")


def test_on_gpus_each_job_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "resolve_device", lambda device: "cuda")
    monkeypatch.setattr(machine, "gpu_names", lambda: ["0", "1"])
    monkeypatch.setattr(joblib_launcher.machine, "has_cuda", lambda: True)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    launcher, config = JoblibLauncher(-1, "accel"), compose(["device=auto"])
    shares = launcher.shares([config] * 4)
    assert [share.gpus for share in shares] == [("0",), ("1",)]
    assert launcher.sentence(4, shares).endswith("and a GPU of its own")
    crowded = JoblibLauncher(4, "accel").shares([config] * 4)
    assert [share.gpus for share in crowded] == [("0",), ("1",), ("0",), ("1",)]
    assert "there are fewer GPUs, which several share" in launcher.sentence(4, crowded)
    with pytest.raises(ConfigError, match=r"device=cuda:1 names a GPU, and .* gives each job one: write device=cuda"):
        launcher.shares([config, compose(["device=cuda:1"])])


def test_what_is_said_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 4)
    launcher = JoblibLauncher(2, "accel")
    assert launcher.sentence(4, [MachineShare((0, 1), 2)] * 2) == "4 jobs, 2 at a time, each with 2 of 4 cores"
    assert "that is more jobs than cores" in launcher.sentence(8, [MachineShare((), 1)] * 6)
    monkeypatch.setitem(os.environ, "OMP_NUM_THREADS", "3")
    assert "each with the threads that OMP_NUM_THREADS=3 says, on 4 cores" in launcher.sentence(4, [MachineShare()] * 2)


def test_gpus_have_the_names_that_the_variable_takes() -> None:
    assert machine.gpu_names(2, None) == ["0", "1"]
    assert machine.gpu_names(1, "3, 5") == ["3"]
    assert machine.gpu_names(2, "GPU-a,GPU-b") == ["GPU-a", "GPU-b"]
