"""A submitted job on one of its nodes: one torchrun, which starts and restarts the ranks of that node.

Two signals end a job early. submitit's own (SIGUSR2 by default) comes before the time limit, and on some clusters before a
preemption. On the first node submitit then calls `checkpoint`, and has Slurm requeue the job. SIGTERM comes before Slurm ends
a job, or requeues it by itself. The ranks save and end at SIGTERM, so torchrun gets SIGTERM for both signals, and a requeued
job goes on from the saved state. This module imports neither torch nor Hydra.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any

from submitit import JobEnvironment
from submitit.helpers import DelayedSubmission

from accel.errors import TrainingError
from accel.report.terminal import say
from accel.system.shell_quoting import command_line

__all__ = ["MAX_RESTARTS", "RENAMED", "REQUEUE_SECONDS", "Node"]

MAX_RESTARTS = 3
"""Times that torchrun restarts ranks that were killed, within one attempt of the job."""
REQUEUE_SECONDS = 10.0
"""Seconds after SIGTERM in which submitit's signal may still come and requeue the job; Slurm's SIGKILL comes after 30."""
RENAMED = {
    "words": "arguments", "again": "resume_arguments", "home": "run_directory", "patience": "save_seconds", "until": "stay_until",
    "told": "torchrun_signalled",
}  # fmt: skip
"""Fields of jobs that were submitted before 0.1.0, and their names now."""


@dataclass(eq=False)
class Node:
    """Function that submitit calls on each node. submitit pickles it, so it holds texts and numbers only.

    Args:
        arguments: the arguments of `accel.train`.
        resume_arguments: those of a later attempt that finds a checkpoint in the run directory.
        run_directory: empty if nothing is written.
        cwd: the directory that relative paths begin in.
        ranks: processes of each node.
        save_seconds: seconds that the ranks have to save before the time limit.
        attempt: times that submitit has requeued the job.
        gpus: value of CUDA_VISIBLE_DEVICES; empty for that which submitit or Slurm has set.
    """

    arguments: list[str]
    resume_arguments: list[str]
    run_directory: str
    cwd: str
    ranks: int
    save_seconds: int
    attempt: int = 0
    gpus: str = ""
    torchrun: subprocess.Popen[bytes] | None = field(default=None, init=False)
    """The process; None before it starts."""
    stay_until: float = field(default=0.0, init=False)
    """Monotonic seconds until which to stay after the ranks have been told to end; 0 before."""
    torchrun_signalled: bool = field(default=False, init=False)
    """Whether torchrun has got SIGTERM: a second one would cut its waiting for the ranks short, a third one end it."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over the fields of a pickle, also of one with the names of fields before 0.1.0."""
        self.__dict__.update({RENAMED.get(name, name): value for name, value in state.items()})

    def __call__(self) -> None:
        """Run torchrun on this node, and return when the run is done.

        Raises:
            TrainingError: if the run is not done. submitit keeps it as the job's result.
        """
        environment = JobEnvironment()
        preempt = getattr(signal, f"SIG{JobEnvironment.USR_SIG}")
        signal.signal(signal.SIGTERM, self.on_signal)
        if environment.global_rank > 0:  # submitit listens on the first node alone
            signal.signal(preempt, self.on_signal)
        command = self.command(environment)
        say(f"accel: on {environment.hostname}: {command_line(command)}", flush=True)
        self.start_torchrun(command, preempt)
        try:
            if self.stay_until:  # the signal came before torchrun was there
                self.signal_torchrun()
            self.wait_for_torchrun()
        finally:
            code = self.stop_torchrun()
        while time.monotonic() < self.stay_until:
            time.sleep(0.1)
        if code:
            sys.tracebacklimit = 0  # the ranks have printed the cause
            reason = "stopped from outside" if self.stay_until else f"torchrun ended with exit code {code}"
            out = self.run_directory or "DIR"
            raise TrainingError(f"{reason}; submit the same with out={out} and it goes on from its last checkpoint")

    def command(self, environment: JobEnvironment) -> list[str]:
        """Return torchrun's command line on this node."""
        rendezvous = ["--standalone"]
        if environment.num_nodes > 1:
            number = int(environment.raw_job_id)
            # below the ports that systems hand out; by number, as two jobs may share a first node
            endpoint = f"{environment.hostnames[0]}:{20000 + number % 10000}"
            rendezvous = [
                f"--nnodes={environment.num_nodes}", f"--rdzv-id={number}", "--rdzv-backend=c10d", f"--rdzv-endpoint={endpoint}",
                f"--rdzv-conf=is_host={int(environment.node == 0)}",
            ]  # fmt: skip
        requeued = max(self.attempt, int(os.environ.get("SLURM_RESTART_COUNT") or 0))
        saved = self.run_directory and any(Path(self.cwd, self.run_directory, "checkpoints").glob("*.json"))
        arguments = self.resume_arguments if requeued and saved else self.arguments
        program = [sys.executable, "-m", "torch.distributed.run", *rendezvous, f"--nproc-per-node={self.ranks}"]
        return [*program, f"--max-restarts={MAX_RESTARTS}", "-m", "accel.train", *arguments]

    def start_torchrun(self, command: list[str], preempt: signal.Signals) -> None:
        """Start torchrun, which does not see the signal `preempt`."""
        env = {"TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(self.save_seconds), **os.environ}
        env |= {"CUDA_VISIBLE_DEVICES": self.gpus} if self.gpus else {}
        # Slurm signals every process of a job: torchrun and the ranks inherit the block, and do not die of the signal
        previous = signal.pthread_sigmask(signal.SIG_BLOCK, [preempt])
        try:
            self.torchrun = subprocess.Popen(command, cwd=self.cwd, env=env)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, previous)

    def checkpoint(self) -> DelayedSubmission:
        """Let the ranks save and end; return the job that submitit is to requeue. submitit calls this in a signal handler."""
        self.stop_torchrun()
        return DelayedSubmission(replace(self, attempt=self.attempt + 1))

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal that ends this node's part of the job: let the ranks save, and stay for what the cluster decides."""
        # if both signals come, in either order, or SIGTERM a second time, nothing is left to wait for
        seconds = 0.0 if self.stay_until else REQUEUE_SECONDS if number == signal.SIGTERM else self.save_seconds
        self.stay_until = time.monotonic() + seconds
        if number == signal.SIGTERM and os.environ.get("SUBMITIT_EXECUTOR") == "slurm" and self.torchrun is not None:
            self.torchrun_signalled = True  # by Slurm, which signals every process of the job
        self.signal_torchrun()

    def signal_torchrun(self) -> None:
        """Send SIGTERM to torchrun, once, so that it ends its ranks."""
        if self.torchrun is not None and not self.torchrun_signalled:
            self.torchrun_signalled = True
            self.torchrun.terminate()

    def stop_torchrun(self) -> int:
        """Let torchrun end its ranks, and wait for it; return its exit code."""
        self.signal_torchrun()
        if self.torchrun is None:
            return 0
        self.wait_for_torchrun()
        return self.torchrun.wait()

    def wait_for_torchrun(self) -> None:
        """Wait for the end of torchrun without taking its exit code, as a handler may wait inside this wait."""
        assert self.torchrun is not None
        with suppress(ChildProcessError):
            os.waitid(os.P_PID, self.torchrun.pid, os.WEXITED | os.WNOWAIT)
