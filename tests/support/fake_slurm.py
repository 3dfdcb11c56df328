"""As much of Slurm as submitit uses, on this machine: sbatch, srun, scontrol and scancel, which really run what they are given.

`install(folder)` puts the four on a PATH. A job's nodes are processes beside each other. As with Slurm, a signal goes to every
process of a job's tasks, whoever started them; a job that is requeued gets SIGTERM, then SIGKILL, and its script is run again. With
`FAKE_SLURM_HOLD` in the environment jobs stay in the queue.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

STATE = "FAKE_SLURM"
KILL_WAIT = 120.0
"""Seconds from SIGTERM to SIGKILL; 30 in Slurm, in which a busy machine may not have saved."""


def install(folder: Path) -> dict[str, str]:
    """The environment in which the commands are there; they keep their state in `folder`."""
    tools = folder / "bin"
    tools.mkdir(parents=True)
    for name in ("sbatch", "srun", "scontrol", "scancel"):
        (tools / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__)}" {name} "$@"\n')
        (tools / name).chmod(0o755)
    return {"PATH": f"{tools}:{os.environ['PATH']}", STATE: str(folder)}


def sbatch(script: str) -> None:
    """Queues a job, or an array of them."""
    text = Path(script).read_text()
    number = 7001 + len(list(state().glob("*.sh")))
    (state() / f"{number}.sh").write_text(text)
    print(f"Submitted batch job {number}", flush=True)
    if "FAKE_SLURM_HOLD" in os.environ:
        return
    array = re.search(r"^#SBATCH --array=0-(\d+)", text, re.MULTILINE)
    for index in range(int(array[1]) + 1) if array else [None]:
        words = [sys.executable, __file__, "job", str(number), "" if index is None else str(index)]
        subprocess.Popen(words, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def job(number: str, index: str) -> None:
    """One job, from its start to its last end."""
    text = (state() / f"{number}.sh").read_text()
    actual = re.search(r"^#SBATCH --nodes=(\d+)", text, re.MULTILINE)
    nodes = actual[1] if actual else "1"
    own = str(int(number) + (int(index) if index else 0))  # the others of an array have numbers of their own
    env = {"SLURM_JOB_ID": own, "SLURM_JOB_NUM_NODES": nodes, "SLURM_NNODES": nodes, "SLURM_NTASKS": nodes}
    env["SLURM_JOB_NODELIST"] = ",".join(["localhost"] * int(nodes))
    if index:
        env |= {"SLURM_ARRAY_JOB_ID": number, "SLURM_ARRAY_TASK_ID": index}
    name = f"{number}_{index}" if index else number
    for restart in range(10):
        again = {"SLURM_RESTART_COUNT": str(restart)} if restart else {}
        subprocess.run(["bash", state() / f"{number}.sh"], env={**os.environ, **env, **again}, check=False)
        with (state() / f"{name}.ends").open("a") as log:
            print("end", file=log)
        if not (state() / f"{name}.requeue").exists():
            return
        (state() / f"{name}.requeue").unlink()


def srun(*words: str) -> int:
    """A task on each node; the worst of their exit codes."""
    options = {word: words[number + 1] for number, word in enumerate(words) if word in ("--output", "--error")}
    command = list(words[1 + max([0, *(words.index(path) for path in options.values())]) :])
    while command[0].startswith("--"):
        command.pop(0)
    number, index = os.environ.get("SLURM_ARRAY_JOB_ID", os.environ["SLURM_JOB_ID"]), os.environ.get("SLURM_ARRAY_TASK_ID", "")
    name, tasks = f"{number}_{index}" if index else number, []
    for node in range(int(os.environ["SLURM_NNODES"])):
        env = {**os.environ, "SLURM_NODEID": str(node), "SLURM_PROCID": str(node), "SLURM_LOCALID": "0"}
        files = {}
        for option, path in options.items():
            for sign, value in {"%A": number, "%a": index, "%j": name, "%t": str(node)}.items():
                path = path.replace(sign, value)
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            files[option] = Path(path).open("a")  # noqa: SIM115
        tasks.append(subprocess.Popen(command, env=env, stdout=files["--output"], stderr=files.get("--error", subprocess.STDOUT)))
    for known in {name, os.environ["SLURM_JOB_ID"]}:
        (state() / f"{known}.tasks").write_text(" ".join(str(task.pid) for task in tasks))
    return max(abs(task.wait()) for task in tasks)


def scontrol(what: str, name: str) -> None:
    """`requeue` alone."""
    assert what == "requeue"
    (state() / f"{name}.requeue").touch()
    words = [sys.executable, __file__, "end", name]  # what ends the job must outlive the task that asked for it
    subprocess.Popen(words, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def end(name: str) -> None:
    """Ends a job as Slurm does."""
    members = family(name)
    strike(members, signal.SIGTERM)
    limit = time.monotonic() + KILL_WAIT
    while time.monotonic() < limit and any(Path("/proc", str(pid)).exists() for pid in members):
        time.sleep(0.05)
    strike(members, signal.SIGKILL)  # these alone: the job may have begun anew by now


def scancel(option: str, number: str, name: str) -> None:
    """`--signal NAME JOB` alone."""
    assert option == "--signal"
    strike(family(name), getattr(signal, f"SIG{number}"))


def strike(members: list[int], number: int) -> None:
    """A signal to each."""
    for pid in members:
        if pid != os.getpid():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue


def family(name: str) -> list[int]:
    """The processes of a job's tasks: they, and whatever they started."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    actual = [int(pid) for pid in (state() / f"{name}.tasks").read_text().split() if int(pid) in parents]
    for pid in actual:
        actual += [child for child, parent in parents.items() if parent == pid]
    return actual


def state() -> Path:
    """Where everything is kept."""
    return Path(os.environ[STATE])


if __name__ == "__main__":
    sys.exit(globals()[sys.argv[1]](*sys.argv[2:]))
