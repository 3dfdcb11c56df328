"""Jobs that are handed to submitit really run: processes of this machine, and nodes of a Slurm that is stood in for."""

from __future__ import annotations

import pickle
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from accel.cli.submit.launcher import PACKAGE
from accel.cli.train_command import main
from accel.system.machine import importable
from tests.docs.pages import SUBMITS
from tests.support import fake_slurm
from tests.support.drill_length import times
from tests.support.rank_processes import ROOT

pytestmark = pytest.mark.skipif(not importable(PACKAGE), reason="needs the extra slurm")
SLURM, LOCAL = "hydra/launcher=submitit_slurm", "hydra/launcher=submitit_local"

MINE = """
import os, signal, subprocess, time
from dataclasses import dataclass
from pathlib import Path
import torch
from accel import Trainer
from accel.parts import Watch

class Rows(torch.utils.data.Dataset):
    def __len__(self): return 16
    def __getitem__(self, index): return torch.linspace(-1, 1, 4) * index, index % 2

class Mine(Trainer):
    def model(self): return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 2))
    def data(self, split): return Rows()
    def loss(self, model, batch): return torch.nn.functional.cross_entropy(model(batch[0]), batch[1])

@dataclass(eq=False)
class TimeIsUp(Watch):
    "Once, after an update: what Slurm, or submitit in its place, sends before the time limit; then waits to be told to stop."
    update: int = 99
    def setup(self, run):
        self.once = Path(f"time-was-up-{self.update}-{os.environ['SUBMITIT_EXECUTOR']}")
    def after(self, step, loss):
        if step != self.update or os.environ["RANK"] != "0" or self.once.exists():
            return
        self.once.touch()
        if "SLURM_JOB_ID" in os.environ:
            subprocess.Popen(["scancel", "--signal", "USR2", os.environ["SLURM_JOB_ID"]], start_new_session=True)
        else:
            torchrun = os.getppid()
            os.kill(int(Path(f"/proc/{torchrun}/stat").read_text().rpartition(")")[2].split()[1]), signal.SIGUSR2)
        limit = time.monotonic() + 60
        while signal.getsignal(signal.SIGTERM).__self__.requested is None and time.monotonic() < limit:
            time.sleep(0.01)
"""
TASK = [
    "task._target_=mine.Mine", "+plugins=[ddp]", "+plugins.time._target_=mine.TimeIsUp", "epochs=3", "batch_size=4",
    "plugins.metrics.curves=false", "plugins.metrics.report=false",
]  # fmt: skip


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a task, in a shell that has Slurm."""
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    settings = {**fake_slurm.install(tmp_path / "slurm"), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return tmp_path


def submit(*words: str) -> str:
    """What the command says; it ends while the jobs run, although they were started from a process whose output is a pipe."""
    done = subprocess.run([sys.executable, "-m", "accel.train", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def wait(pattern: str, count: int) -> list[Path]:
    """The files that there are at last."""
    limit = time.monotonic() + 180
    while len(actual := sorted(Path().glob(pattern))) < count:
        assert time.monotonic() < limit, "\n".join(path.read_text() for path in Path().glob("*/.submitit/*/*_log.*"))
        time.sleep(0.1)
    return actual


def result(file: Path) -> Any:
    return pickle.loads(file.read_bytes())


@pytest.mark.slow
def test_a_job_of_this_machine_runs_out_of_time_and_goes_on(here: Path) -> None:
    # in the long drills beside one that is left alone, which comes to the same bits
    updates = ["2", "99"][: times(1, 2)]
    message = submit("-m", LOCAL, "hydra.launcher.tasks_per_node=2", *TASK, f"plugins.time.update={','.join(updates)}", "out=runs")
    jobs = re.findall(r"^  job (\d+)  run (runs/[01])  logs (runs/\.submitit/\d+)  ", message, re.MULTILINE)
    assert [run for _, run, _ in jobs] == ["runs/0", "runs/1"][: len(updates)]
    assert ", 1 node x 2 ranks; nothing here waits for " in message
    done = wait("runs/.submitit/*/*_result.pkl", len(updates))
    assert {file.parent for file in done} == {Path(log) for _, _, log in jobs}
    logs = [Path(log, f"{number}_0_log.out").read_text() for number, _, log in jobs]
    assert [result(file) for file in done] == [("success", None)] * len(updates), logs
    assert "Requeued job" in logs[0]
    assert "resume           update-00000002" in logs[0]
    assert "Requeued job" not in "".join(logs[1:])
    bits = {Path(run, "model.safetensors").read_bytes() for _, run, _ in jobs}
    assert len(bits) == 1, "of one job in the suite, of two in the long drills"


TORCHRUN = """
import os, signal, sys, time
from pathlib import Path
node = os.environ.get("SLURM_NODEID")
if node is None:
    print(*sys.argv[1:])
    sys.exit("seed=1" in sys.argv)
def stop(*_):
    with open(f"told-{node}", "a") as file:
        print("SIGTERM", file=file)
signal.signal(signal.SIGTERM, stop)
attempt = os.environ.get("SLURM_RESTART_COUNT", "0")
Path(f"words-{node}-{attempt}.tmp").write_text(" ".join(sys.argv[1:]))
Path(f"words-{node}-{attempt}.tmp").rename(f"words-{node}-{attempt}")
if attempt == "0":
    while not Path(f"told-{node}").exists():
        time.sleep(0.01)
    limit = time.monotonic() + 0.5  # ranks take a while to save, in which more may come
    while time.monotonic() < limit:
        time.sleep(0.01)
    Path("new/checkpoints").mkdir(parents=True, exist_ok=True)
    Path("new/checkpoints/one.json").touch()
    sys.exit(1)
"""


def stand_in(here: Path) -> None:
    """In place of torchrun, which takes seconds: what each node starts, and what it does to it."""
    (here / "torch/distributed").mkdir(parents=True)
    (here / "torch/__init__.py").touch()
    (here / "torch/distributed/run.py").write_text(TORCHRUN)
    (here / "mine.py").unlink()


@pytest.mark.slow
def test_a_sweep_of_this_machine(here: Path) -> None:
    stand_in(here)
    assert submit("-m", LOCAL, "seed=0,1", "epochs=3", "out=runs").startswith("submitted 2 jobs to this machine, 1 node x 1 rank;")
    results = {result(file)[0]: file for file in wait("runs/.submitit/*/*_result.pkl", 2)}
    for name, seed in {"success": 0, "error": 1}.items():
        log = results[name].with_name(results[name].name.replace("result.pkl", "log.out")).read_text()
        words = f"--nproc-per-node=1 --max-restarts=3 -m accel.train seed={seed} epochs=3 resume=auto out=runs/{seed}"
        assert f"\n--standalone {words}\n" in log
    sentence = "torchrun ended with exit code 1; submit the same with out=runs/1 and it goes on from its last checkpoint"
    assert result(results["error"])[1] == f"accel.errors.TrainingError: {sentence}\n"


@pytest.mark.parametrize("signals", ["USR2", "TERM USR2"])  # before the time limit; before a preemption, on some clusters
@pytest.mark.slow
def test_a_job_of_two_nodes_is_begun_anew(signals: str, here: Path) -> None:
    stand_in(here)
    settings = [f"hydra.launcher.{word}" for word in ("nodes=2", "tasks_per_node=4", "cpus_per_task=2", "timeout_min=1")]
    submit(SLURM, *settings, "hydra.launcher.max_num_timeout=1", "+plugins=[ddp]", "resume=old/run", "out=new", "epochs=3")
    assert "#SBATCH --cpus-per-task=8\n" in (here / "slurm/7001.sh").read_text(), "of the one task that has all ranks"
    wait("words-*-0", 2)
    for name in signals.split():
        subprocess.run(["scancel", "--signal", name, "7001"], check=True)
    wait("new/.submitit/7001/7001_[01]_result.pkl", 2)
    wait("words-*-1", 2)
    for node in "01":
        nodes = f"--nnodes=2 --rdzv-id=7001 --rdzv-backend=c10d --rdzv-endpoint=localhost:27001 --rdzv-conf=is_host={1 - int(node)}"
        first = f"{nodes} --nproc-per-node=4 --max-restarts=3 -m accel.train +plugins=[ddp] epochs=3"
        assert Path(f"words-{node}-0").read_text() == f"{first} resume=old/run out=new"
        assert Path(f"words-{node}-1").read_text() == f"{first} resume=auto out=new"
        assert Path(f"told-{node}").read_text() == "SIGTERM\n", "once, by us or by Slurm, and no death by the other signal"
    assert "Requeued job 7001 (0 remaining timeouts)" in Path("new/.submitit/7001/7001_0_log.out").read_text()


@pytest.mark.skipif(times(0, 1) == 0, reason="long: ACCEL_DRILL=long")
def test_two_nodes_run_out_of_time_and_go_on_to_the_same_bits(here: Path) -> None:
    slurm = ["hydra.launcher.nodes=2", "hydra.launcher.max_num_timeout=3", *TASK]
    submit("-m", SLURM, *slurm, "plugins.time.update=2,99", 'out="two runs"')
    wait("two runs/[01]/summary.json", 2)
    for number in (0, 1):
        log = "".join(path.read_text() for path in Path(f"two runs/.submitit/7001_{number}").glob("*.out"))
        assert ("resume           update-00000002" in log) == (number == 0)
    one, other = (Path(f"two runs/{number}/model.safetensors").read_bytes() for number in (0, 1))
    assert one == other


@pytest.mark.slow
def test_what_slurm_is_told(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FAKE_SLURM_HOLD", "1")
    settings = ["nodes=2", "gpus_per_node=8", "timeout_min=600", "cpus_per_task=64", "partition=long", "max_num_timeout=5"]
    words = [*(f"hydra.launcher.{word}" for word in settings), "+hydra.launcher.additional_parameters.mail-user=me"]
    assert main(["-m", SLURM, *words, *TASK, "seed=0,1,2", "device=auto", "out=runs", "--config-dir", "."]) == 0
    script = (here / "slurm/7001.sh").read_text()
    flags = dict(re.findall(r"^#SBATCH --([\w-]+)=?(.*)$", script, re.MULTILINE))
    wanted = {
        "nodes": "2", "gpus-per-node": "8", "ntasks-per-node": "1", "time": "600", "cpus-per-task": "64", "partition": "long",
        "array": "0-2%3", "signal": "USR2@120", "requeue": "", "open-mode": "append", "job-name": "accel", "mail-user": "me",
    }  # fmt: skip
    assert wanted.items() <= flags.items()
    assert re.search(r"^srun .* --cpus-per-task=64 ", script, re.MULTILINE)
    message = capsys.readouterr().out
    assert "submitted 3 jobs to Slurm, 2 nodes x 8 ranks; nothing here waits for them" in message
    assert message.rstrip().endswith("squeue --job 7001")
    for number in range(3):
        node = result(here / f"runs/.submitit/7001_{number}/7001_{number}_submitted.pkl").function
        assert node.arguments == ["--config-dir", ".", *TASK, f"seed={number}", "device=auto", "resume=auto", f"out=runs/{number}"]
        assert (node.ranks, node.save_seconds, node.cwd, node.run_directory) == (8, 110, str(here), f"runs/{number}")
        assert f"  job 7001_{number}  run runs/{number}  logs runs/.submitit/7001_{number}  " in message


@pytest.mark.slow
def test_the_commands_of_the_readme(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(here)
    monkeypatch.setenv("FAKE_SLURM_HOLD", "1")
    message = "".join(submit(*shlex.split(line, comments=True)[3:]) for line in SUBMITS)
    assert "submitted 3 jobs to Slurm, 2 nodes x 8 ranks; nothing" in message
    assert "submitted 1 job to this machine, 1 node x 2 ranks; nothing" in message
    (done,) = wait("outputs/*/*/.submitit/*/*_result.pkl", 1)
    assert result(done) == ("success", None)


@pytest.mark.slow
def test_resuming_another_run_is_asked_for_once(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_SLURM_HOLD", "1")
    nodes = []
    file = "resume=old/run/checkpoints/one.pt"
    for words in (["resume=old/run"], [file, "resume.allow=[epochs]"], ["resume=old/run", "out=new"], ["dry_run=true"]):
        number = 7001 + len(nodes)
        assert main([SLURM, *words, "epochs=3", "hydra.launcher.submitit_folder=logs/%j"]) == 0
        nodes.append(result(here / f"logs/{number}/{number}_submitted.pkl").function)
    assert [node.arguments for node in nodes] == [
        ["epochs=3", "resume=old/run"], ["resume.allow=[epochs]", "epochs=3", file],
        ["epochs=3", "resume=old/run", "out=new"], ["dry_run=true", "epochs=3"],
    ]  # fmt: skip
    later = [["resume=auto", f"out={home}"] for home in ("old/run", "old/run", "new")]
    assert [node.resume_arguments[-2:] for node in nodes] == [*later, []]


def test_what_slurm_refuses_is_one_sentence(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "slurm/bin/sbatch").write_text("#!/bin/sh\necho 'sbatch: error: invalid partition specified: lnog' >&2\nexit 1\n")
    assert main([SLURM, "hydra.launcher.partition=lnog", "out=runs/one"]) == 2
    message = capsys.readouterr().err
    assert message == f"accel: error: {SLURM}: sbatch: error: invalid partition specified: lnog\n"
    assert not (here / "runs").exists()
    shutil.rmtree(here / "slurm/bin")
    assert main([SLURM]) == 2
    assert "there is no sbatch here" in capsys.readouterr().err


def test_under_torchrun_nothing_is_submitted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "one")
    assert main([LOCAL]) == 2
    assert "starts torchrun on each node; say python -m accel.train here, without torchrun" in capsys.readouterr().err
