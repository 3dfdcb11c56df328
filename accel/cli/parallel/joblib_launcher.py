"""Hydra's launcher joblib: how many jobs run at a time, and what each has of this machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from accel.cli.compose.config import Config
from accel.cli.parallel.machine_shares import THREADS, MachineShare, share_machine
from accel.errors import ConfigError
from accel.system import machine
from accel.system.cpu.local_ranks import neighbours_first

__all__ = ["TARGET", "JoblibLauncher"]

TARGET = "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher"


@dataclass(frozen=True)
class JoblibLauncher:
    """Launcher of jobs that run at the same time, each in a process of its own.

    Args:
        n_jobs: jobs at a time, as joblib counts them: -1 is one for each GPU, or for each core, -2 one less.
        job_name: `hydra.job.name`, which names the file of what a job prints.
    """

    n_jobs: int
    job_name: str

    @classmethod
    def of(cls, settings: dict[str, Any], defaults: dict[str, Any], job_name: str) -> JoblibLauncher:
        """Return the launcher with checked settings.

        Args:
            settings: of the launcher, by Hydra's names.
            defaults: the same as the package has them.
            job_name: `hydra.job.name`.

        Raises:
            ConfigError: for settings of joblib's own processes, which do not run here, and for a number of jobs that is none.
        """
        for name, value in settings.items():
            if name not in ("n_jobs", "_target_") and value != defaults.get(name, value):
                raise ConfigError(
                    f"hydra.launcher.{name}={value} has no effect: each job is a process of its own, and hydra.launcher.n_jobs "
                    "is how many run at a time"
                )
        count = 1 if settings["n_jobs"] is None else settings["n_jobs"]
        if not isinstance(count, int) or count == 0:
            raise ConfigError(f"hydra.launcher.n_jobs must be a number of jobs, or -1 for as many as fit, not {count}")
        return cls(count, job_name)

    @property
    def log_name(self) -> str:
        """The file, in each run directory, of what a job prints."""
        return f"{self.job_name}.log"

    def places(self, jobs: int, units: int) -> int:
        """Return how many jobs run at a time.

        Args:
            jobs: how many there are; 0 if nobody knows yet.
            units: GPUs, or cores where the jobs use no GPU.
        """
        wanted = self.n_jobs if self.n_jobs > 0 else max(1, units + 1 + self.n_jobs)
        return min(wanted, jobs) if jobs else wanted

    def shares(self, configs: Sequence[Config]) -> list[MachineShare]:
        """Return what the jobs that run at a time have of this machine.

        Args:
            configs: the jobs; several with the same settings stand for as many.

        Raises:
            ConfigError: for a job that names a GPU, while each is given one.
        """
        devices = {config.settings.device for config in configs}
        named = next((device for device in sorted(devices) if device.startswith("cuda:")), "")
        on_gpus = any(machine.resolve_device(device) == "cuda" for device in devices)
        names = machine.gpu_names() if on_gpus else []
        if named:
            raise ConfigError(f"device={named} names a GPU, and hydra/launcher=joblib gives each job one: write device=cuda")
        places = self.places(len(configs), len(names) or machine.cores())
        cores = neighbours_first(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_setaffinity") else None
        return share_machine(places, cores or range(machine.cores()), names, os.environ, can_pin=cores is not None)

    def sentence(self, jobs: int, shares: Sequence[MachineShare]) -> str:
        """Return what the user is told before the first job begins."""
        cores, threads, gpus = machine.cores(), shares[0].threads, {share.gpus for share in shares}
        if threads is None:
            own = f"each with the threads that {THREADS}={os.environ[THREADS]} says, on {cores} cores"
        else:
            own = f"each with {threads} of {cores} core{'s' * (cores > 1)}"
        crowded = "; that is more jobs than cores, and they wait for one another" if len(shares) > cores else ""
        shared = "; there are fewer GPUs, which several share" if gpus != {()} and len(gpus) < len(shares) else ""
        if gpus != {()}:
            own += " and a GPU of its own" if not shared else ""
        return f"{jobs} job{'s' * (jobs > 1)}, {len(shares)} at a time, {own}{crowded}{shared}"
