"""Hands checked jobs to submitit: Slurm, or processes of this machine. The command ends then, and the jobs go on without it."""

from __future__ import annotations

import os
import re
import shlex
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
from accel.cli.submit.launcher import Launcher
from accel.errors import ConfigError
from accel.system.shell_quoting import override
from accel.system.stop_signals import TORCHRUN_VARIABLE

if TYPE_CHECKING:
    from accel.cli.submit.node import Node

__all__ = ["MARGIN", "submit"]

MARGIN = 10
"""Seconds between the ranks' last chance to save and the time limit: to have the job begun anew."""


def submit(launcher: Launcher, configs: Sequence[Config], flags: Sequence[str], many: bool) -> int:
    """Submits a job for each config; returns the exit code.

    Raises:
        ConfigError: where the ranks would not train together, or the cluster takes no such job.
    """
    if TORCHRUN_VARIABLE in os.environ:
        raise ConfigError(f"{launcher.said} starts torchrun on each node; say python -m accel.train here, without torchrun")
    for config in configs:
        torchrun.require_parallel_plugin(config, launcher.nodes * launcher.ranks)
        if config.settings.device != "cpu" and 0 < launcher.gpus < launcher.ranks:
            raise ConfigError(f"hydra.launcher.tasks_per_node={launcher.ranks}: a node has {launcher.gpus} of them for its GPUs")
    base = Path(configs[0].settings.out or run_directories.fresh(datetime.now()))
    homes = [run_directories.of_job(config.settings, base, number if many else None) for number, config in enumerate(configs)]
    settings = launcher.settings(base)
    patience = max(settings.get("signal_delay_s", 30) - MARGIN, 1)
    nodes = [_node(config, home, flags, launcher.ranks, patience) for config, home in zip(configs, homes, strict=True)]
    jobs = _submitted(launcher, settings, nodes, base)
    for sentence in dict.fromkeys(sentence for config in configs for sentence in config.warnings):
        print(f"accel: warning: {sentence}", file=sys.stderr)
    _tell(launcher, configs, nodes, jobs)
    return 0


def _node(config: Config, home: Path | None, flags: Sequence[str], count: int, patience: int) -> Node:
    """What one job does on each node, from the words that were typed for it."""
    from accel.cli.submit.node import Node

    resume = config.settings.resume
    kept = [word for word in config.overrides if not re.match(r"\+*(resume|out)=", word)]
    if home is None and resume is None:  # dry_run
        return Node([*flags, *config.overrides], [], "", os.getcwd(), count, patience)
    if home is None:
        given = run_directories.newest() if resume == "auto" else Path(str(resume))
        home, first = (given.parent.parent if given.suffix == ".pt" else given), [_word("resume", given)]
    else:
        first = [_word("resume", resume or "auto"), _word("out", home)]
    again = ["resume=auto", _word("out", home)]
    return Node([*flags, *kept, *first], [*flags, *kept, *again], str(home), os.getcwd(), count, patience)


def _word(name: str, value: object) -> str:
    return shlex.split(override(name, value))[0]  # no shell is between here and the ranks


def _submitted(launcher: Launcher, settings: dict[str, Any], nodes: Sequence[Node], base: Path) -> list[Any]:
    """submitit's jobs. Raises ConfigError where one cannot be, after having taken away what was written for it."""
    if launcher.kind == "slurm" and not (shutil.which("sbatch") and shutil.which("srun")):
        raise ConfigError(f"{launcher.said}: there is no sbatch here; say it where Slurm is, or say hydra/launcher=submitit_local")
    folder = Path(settings["submitit_folder"].partition("%")[0])
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        executor = _executor(launcher, settings)
        with _silent():
            found: list[Any] = executor.submit_array(nodes)
        return found
    except Exception as error:  # whatever submitit and sbatch trip over
        from accel.engine.run_directory import remove_created  # with torch, which nothing here needs

        remove_created(folder, made)
        raise ConfigError(f"{launcher.said}: {' '.join(str(error).split())}") from None


@contextmanager
def _silent() -> Iterator[None]:
    """What is started inside does not keep the pipes open that this command writes to: `... | tee log` ends with it."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept, nothing = [(number, os.dup(number)) for number in (1, 2)], os.open(os.devnull, os.O_WRONLY)
    try:
        for number, _ in kept:
            os.dup2(nothing, number)
        with redirect_stderr(StringIO()):  # submitit also prints what sbatch says against a job
            yield
    finally:
        for number, copy in kept:
            os.dup2(copy, number)
            os.close(copy)
        os.close(nothing)


def _executor(launcher: Launcher, settings: dict[str, Any]) -> Any:
    """submitit's executor, for one task on each node: torchrun starts the ranks in it."""
    from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf
    from submitit import AutoExecutor

    shared, tasks = {one.name for one in fields(BaseQueueConf)}, settings["tasks_per_node"]
    for name in ("cpus_per_task", "gpus_per_task"):
        if settings.get(name):
            settings[name] *= tasks
    settings["tasks_per_node"] = 1
    if launcher.kind == "slurm" and settings.get("cpus_per_task"):  # since 22.05 srun takes one where it is not told itself
        settings["srun_args"] = [f"--cpus-per-task={settings['cpus_per_task']}"]
    more = settings.get("additional_parameters")
    if more is not None and not {"requeue", "no-requeue", "no_requeue"} & set(more):
        more["requeue"] = True  # a cluster may not allow it by default, and these jobs go on where they were
    kind = launcher.kind
    given = {name if name in shared else f"{kind}_{name}": value for name, value in settings.items() if value is not None}
    start = {"folder": given.pop("submitit_folder"), "cluster": kind}
    limit = f"{kind}_max_num_timeout"
    executor = AutoExecutor(**start, **({limit: given.pop(limit)} if limit in given else {}))
    executor.update_parameters(**given)
    return executor


def _tell(launcher: Launcher, configs: Sequence[Config], nodes: Sequence[Node], jobs: Sequence[Any]) -> None:
    """A line for each job, and how to look at them."""
    slurm, several = launcher.kind == "slurm", len(jobs) > 1
    where = "Slurm" if slurm else "this machine"
    each = f"{launcher.nodes} node{'s' * (launcher.nodes > 1)} x {launcher.ranks} rank{'s' * (launcher.ranks > 1)}"
    print(f"submitted {len(jobs)} job{'s' * several} to {where}, {each}; nothing here waits for {'them' if several else 'it'}")
    logs = [_short(job.paths.folder) for job in jobs]
    for job, node, config, log in zip(jobs, nodes, configs, logs, strict=True):
        print(f"  job {job.job_id}  run {node.home or '(writes nothing)'}  logs {log}  {shlex.join(config.overrides)}".rstrip())
    numbers = sorted({str(job.job_id).partition("_")[0] for job in jobs})
    print(f"look at {'one' if several else 'it'} with\n  tail -F {shlex.quote(logs[0])}/*_log.*")
    print("and at the queue with\n  squeue --job " + ",".join(numbers) if slurm else "end one with\n  kill " + numbers[0])


def _short(path: Path) -> str:
    with suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)
