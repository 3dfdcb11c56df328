"""Submission of checked jobs to Slurm, or to processes of this machine, by submitit. The jobs outlive the command."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, suppress
from dataclasses import fields
from datetime import datetime
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accel.cli import run_directories, torchrun
from accel.cli.compose.config import Config
from accel.cli.parallel.machine_shares import gpus_of_job
from accel.cli.submit.launcher import Launcher
from accel.errors import ConfigError
from accel.report.terminal import say
from accel.system import machine
from accel.system.shell_quoting import command_line, quote, setting
from accel.system.stop_signals import TORCHRUN_VARIABLE

if TYPE_CHECKING:
    from accel.cli.submit.node import Node

__all__ = ["MARGIN", "require_submittable", "submit"]

MARGIN = 10
"""Seconds before the time limit in which the ranks save no more, and the job is requeued."""


def submit(launcher: Launcher, configs: Sequence[Config], flags: Sequence[str], folders: Sequence[str] = ()) -> int:
    """Submit a job for each config, print where they go, and return exit code 0.

    Args:
        launcher: submitit's launcher with its settings.
        configs: the jobs.
        flags: flags that a resumed run needs again.
        folders: of the jobs of a multirun; none for one run.

    Raises:
        ConfigError: if the ranks would not train together, or the cluster takes no such job.
    """
    require_submittable(launcher, configs)
    base = Path(configs[0].settings.out or run_directories.dated_directory(datetime.now()))
    settings = launcher.settings(base)
    save_seconds = max(settings.get("signal_delay_s", 30) - MARGIN, 1)
    nodes, names = list["Node"](), list[str | None](folders) or [None]
    for number, (config, folder) in enumerate(zip(configs, names, strict=True)):
        node = _node(config, run_directories.job_directory(config.settings, base, folder), flags, launcher.ranks, save_seconds)
        if launcher.kind == "local" and launcher.gpus:  # submitit shows all of its processes the first GPUs
            node.gpus = ",".join(gpus_of_job(machine.gpu_names(), number, launcher.gpus))
        nodes.append(node)
    jobs = _submit_jobs(launcher, settings, nodes, base)
    _print_jobs(launcher, configs, nodes, jobs)
    return 0


def require_submittable(launcher: Launcher, configs: Sequence[Config]) -> None:
    """Raise ConfigError if this is a rank of torchrun, or the ranks of a job would not train together, or lack GPUs."""
    if TORCHRUN_VARIABLE in os.environ:
        raise ConfigError(f"{launcher.as_typed} starts torchrun on each node; say python -m accel.train here, without torchrun")
    for config in configs:
        torchrun.require_parallel_plugin(config, launcher.nodes * launcher.ranks)
        if config.settings.device != "cpu" and 0 < launcher.gpus < launcher.ranks:
            raise ConfigError(f"hydra.launcher.tasks_per_node={launcher.ranks}: a node has {launcher.gpus} of them for its GPUs")


def _node(config: Config, out: Path | None, flags: Sequence[str], ranks: int, save_seconds: int) -> Node:
    """Return the function of one job, with the arguments of its first attempt and of later ones.

    Args:
        config: the job.
        out: its run directory; None if it writes nothing, or to the directory of the run that it resumes.
        flags: flags that a resumed run needs again.
        ranks: processes of each node.
        save_seconds: seconds that the ranks have to save before the time limit.
    """
    from accel.cli.submit.node import Node

    resume = config.settings.resume
    kept = [word for word in config.overrides if not re.match(r"\+*(resume|out)=", word)]
    if out is None and resume is None:  # dry_run
        return Node([*flags, *config.overrides], [], "", os.getcwd(), ranks, save_seconds)
    if out is None:
        source = run_directories.newest_run() if resume == "auto" else Path(str(resume))
        out, first = (source.parent.parent if source.suffix == ".pt" else source), [_override_word("resume", source)]
    else:
        first = [_override_word("resume", resume or "auto"), _override_word("out", out)]
    later = ["resume=auto", _override_word("out", out)]
    return Node([*flags, *kept, *first], [*flags, *kept, *later], str(out), os.getcwd(), ranks, save_seconds)


def _override_word(name: str, value: object) -> str:
    """Return an override as one argument, quoted for Hydra and not for a shell: no shell is between here and the ranks."""
    return setting(name, value)


def _submit_jobs(launcher: Launcher, settings: dict[str, Any], nodes: Sequence[Node], base: Path) -> list[Any]:
    """Return submitit's jobs. Raise ConfigError if one cannot be submitted, after its files have been removed."""
    if launcher.kind == "slurm" and not (shutil.which("sbatch") and shutil.which("srun")):
        raise ConfigError(f"{launcher.as_typed}: there is no sbatch here; go where Slurm is, or use hydra/launcher=submitit_local")
    folder = Path(settings["submitit_folder"].partition("%")[0])
    created = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        executor = _executor(launcher, settings)
        with _detached_output():
            jobs: list[Any] = executor.submit_array(nodes)
        return jobs
    except Exception as error:  # of submitit or sbatch, of whatever kind
        from accel.engine.run_directory import remove_created  # imports torch, which nothing else here needs

        remove_created(folder, created)
        raise ConfigError(f"{launcher.as_typed}: {' '.join(str(error).split())}") from None


@contextmanager
def _detached_output() -> Iterator[None]:
    """Give processes that are started inside no share of this command's pipes, so that `... | tee log` ends with it."""
    sys.stdout.flush()
    sys.stderr.flush()
    copies, null = [(number, os.dup(number)) for number in (1, 2)], os.open(os.devnull, os.O_WRONLY)
    try:
        for number, _ in copies:
            os.dup2(null, number)
        with redirect_stderr(StringIO()):  # submitit prints sbatch's errors, which are in its exception too
            yield
    finally:
        for number, copy in copies:
            os.dup2(copy, number)
            os.close(copy)
        os.close(null)


def _executor(launcher: Launcher, settings: dict[str, Any]) -> Any:
    """Return submitit's executor, for one task on each node, in which torchrun starts the ranks."""
    from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf
    from submitit import AutoExecutor

    shared, tasks = {setting.name for setting in fields(BaseQueueConf)}, settings["tasks_per_node"]
    for name in ("cpus_per_task", "gpus_per_task"):
        if settings.get(name):
            settings[name] *= tasks
    settings["tasks_per_node"] = 1
    if launcher.kind == "slurm" and settings.get(
        "cpus_per_task"
    ):  # since 22.05 srun takes one core unless it has a flag of its own
        settings["srun_args"] = [f"--cpus-per-task={settings['cpus_per_task']}"]
    sbatch_flags = settings.get("additional_parameters")
    if sbatch_flags is not None and not {"requeue", "no-requeue", "no_requeue"} & set(sbatch_flags):
        sbatch_flags["requeue"] = True  # a cluster may not allow it by default, and these jobs go on where they were
    kind = launcher.kind
    parameters = {name if name in shared else f"{kind}_{name}": value for name, value in settings.items() if value is not None}
    start = {"folder": parameters.pop("submitit_folder"), "cluster": kind}
    limit = f"{kind}_max_num_timeout"
    executor = AutoExecutor(**start, **({limit: parameters.pop(limit)} if limit in parameters else {}))
    executor.update_parameters(**parameters)
    return executor


def _print_jobs(launcher: Launcher, configs: Sequence[Config], nodes: Sequence[Node], jobs: Sequence[Any]) -> None:
    """Print a line for each job, and the commands to look at them."""
    slurm, several = launcher.kind == "slurm", len(jobs) > 1
    cluster = "Slurm" if slurm else "this machine"
    size = f"{launcher.nodes} node{'s' * (launcher.nodes > 1)} x {launcher.ranks} rank{'s' * (launcher.ranks > 1)}"
    say(f"submitted {len(jobs)} job{'s' * several} to {cluster}, {size}; nothing here waits for {'them' if several else 'it'}")
    logs = [_short_path(job.paths.folder) for job in jobs]
    for job, node, config, log in zip(jobs, nodes, configs, logs, strict=True):
        run = node.run_directory or "(writes nothing)"
        say(f"  job {job.job_id}  run {run}  logs {log}  {command_line(config.overrides)}".rstrip())
    numbers = sorted({str(job.job_id).partition("_")[0] for job in jobs})
    say(f"look at {'one' if several else 'it'} with\n  tail -F {quote(logs[0])}/*_log.*")
    say("and at the queue with\n  squeue --job " + ",".join(numbers) if slurm else "end one with\n  kill " + numbers[0])


def _short_path(path: Path) -> str:
    """Return a path from the current directory on if it is inside, else in full."""
    with suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)
