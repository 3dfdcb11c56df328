"""Under torchrun: one run directory, however far apart the processes start; and never the same run several times at once."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from accel.cli.compose.compose import compose
from accel.cli.torchrun import lost_peer_message, program, require_named_directory
from accel.data.batches.make_batches import make_batches
from accel.errors import AccelWarning, ConfigError
from accel.testing import fit_toy
from tests.support.drill_length import LONG
from tests.support.rank_processes import ROOT
from tests.support.waiting import wait_until

AGREE = """
import os, sys, time
from accel.cli.torchrun import agree_on_directory
rank = int(os.environ["RANK"])
while rank == 1 and not os.path.exists(f"{sys.argv[1]}/0"):
    time.sleep(0.01)
directory = agree_on_directory(f"outputs/of-rank-{rank}")
with open(f"{sys.argv[1]}/{rank}.part", "w") as file:
    file.write(directory)
os.rename(f"{sys.argv[1]}/{rank}.part", f"{sys.argv[1]}/{rank}")
"""
RANKS = """
import atexit, os, time
sleep, rank = time.sleep, os.environ.get("RANK")
def asleep(seconds):
    if seconds > 5:
        open("FOLDER/done", "w").close()
        sleep(600)
    sleep(seconds)
def await_other():
    while not os.path.exists("FOLDER/done"):
        sleep(0.01)
if rank == "1":
    time.sleep = asleep
    atexit.register(lambda: open("FOLDER/done", "w").close())
if rank == "0":
    atexit.register(await_other) if "WHEN" == "end" else await_other()
from accel.train import main
main()
"""
"""What each rank runs: the first waits at its start, or its end, until the second waits for it to speak, or has ended."""


def torchrun(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *words]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)


@pytest.mark.slow
def test_processes_that_start_apart_agree_on_one_directory(tmp_path: Path, forked_commands: None) -> None:
    (tmp_path / "agree.py").write_text(AGREE)
    (tmp_path / "said").mkdir()
    done = torchrun("agree.py", "said", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    message = [(tmp_path / "said" / rank).read_text() for rank in "01"]
    assert message[0] == message[1]
    assert message[0].startswith("outputs/of-rank-")


@pytest.mark.parametrize(
    "message", ["Application timeout caused pair closure", "[gloo/transport] Timed out waiting", "Connection reset by peer"]
)
def test_what_another_rank_or_the_network_has_caused_is_a_sentence(message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert lost_peer_message(RuntimeError(message)) == "", "a process that trains alone has lost nobody"
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert lost_peer_message(RuntimeError(message)).startswith("accel: error: rank 0 has lost another rank, which says why (")
    assert lost_peer_message(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) == ""


def test_the_command_that_goes_on_keeps_the_nodes_and_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"GROUP_WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "8", "TORCHELASTIC_USE_AGENT_STORE": "False"}.items():
        monkeypatch.setenv(name, value)
    assert shlex.join(program()).startswith(
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 torchrun --nnodes=2 --rdzv-backend=c10d --rdzv-endpoint=HOST:PORT --nproc-per-node=8 "
    )


def test_a_directory_that_ranks_begun_anew_would_not_find_is_to_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "False")
    plain, named, once = (compose(words) for words in ([], ["out=run"], ["dry_run=true"]))
    require_named_directory(plain)
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    require_named_directory(named)
    require_named_directory(once)
    with pytest.raises(ConfigError, match="cannot ask those before them for their run directory; name it: out=DIR"):
        require_named_directory(plain)


@pytest.mark.parametrize("when", ["end", *["start"] * LONG])
@pytest.mark.slow
def test_several_processes_without_a_plugin_that_joins_them_are_refused_once(
    when: str, tmp_path: Path, forked_commands: None
) -> None:
    # a first process that is the slower would be ended by torchrun before it has said why; one that is as quick would not be alone
    script = tmp_path / "ranks.py"
    script.write_text(RANKS.replace("FOLDER", str(tmp_path)).replace("WHEN", when))
    (tmp_path / "here").mkdir()
    done = torchrun(script, "epochs=1", cwd=tmp_path / "here")
    assert done.returncode != 0
    assert done.stderr.count("torchrun started 2 processes, and no plugin makes them train together") == 1
    assert list((tmp_path / "here").iterdir()) == []


def test_the_command_that_goes_on_is_that_of_torchrun_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["torchrun", "--standalone", "--nproc-per-node", "2", "--max-restarts=3", "-m", "accel.train"]
    waits = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen([*waits, *words, "epochs=3", "out=a b"], stdin=subprocess.PIPE) as parent:
        wait_until(
            lambda: bool(Path(f"/proc/{parent.pid}/cmdline").read_bytes()), "the command of the parent, which the system sets late"
        )
        monkeypatch.setattr(os, "getppid", lambda: parent.pid)
        monkeypatch.setattr(sys, "argv", ["accel.train", "epochs=3", "out=a b"])
        assert program() == words
        monkeypatch.setattr(sys, "argv", ["accel.train", "epochs=4"])
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "2f6c")
        assert program()[:2] == ["torchrun", "--standalone"], "another parent: what torchrun passes on"
        parent.communicate()


def test_a_script_that_torchrun_starts_several_times_is_told_that_each_trains_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "TORCHELASTIC_RUN_ID": "none"}.items():
        monkeypatch.setenv(name, value)
    with pytest.warns(AccelWarning, match="2 processes were started, and no plugin makes them train together"):
        fit_toy([])
    monkeypatch.setenv("RANK", "1")
    fit_toy([])


def test_a_sampler_of_several_ranks_in_one_process_is_told() -> None:
    data = TensorDataset(torch.arange(8.0))
    with pytest.warns(AccelWarning, match="DistributedSampler gives this process part 2 of 2 of the data, and it trains alone"):
        make_batches(DataLoader(data, 2, sampler=DistributedSampler(data, 2, 1)), 2)
