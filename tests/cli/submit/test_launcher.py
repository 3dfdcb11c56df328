"""Which of Hydra's launchers are taken, and what becomes of their settings, before anything is submitted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from accel.cli.compose import hydra_choices
from accel.cli.compose.compose import compose_job
from accel.cli.compose.hydra_session import Session, session
from accel.cli.compose.hydra_settings import read_hydra_settings
from accel.cli.parallel.choose_launcher import choose_launcher
from accel.cli.submit import launcher
from accel.cli.train_command import main
from accel.errors import ConfigError
from accel.system.machine import importable

SLURM, LOCAL = "hydra/launcher=submitit_slurm", "hydra/launcher=submitit_local"
there = pytest.mark.skipif(not importable(launcher.PACKAGE), reason="needs the extra slurm")


@pytest.fixture(scope="module")
def opened() -> Iterator[Session]:
    with session() as hydra_session:
        yield hydra_session


def read(opened: Session, *words: str, multirun: bool = False) -> launcher.Launcher:
    settings, _ = read_hydra_settings(opened, words, multirun)
    chosen = choose_launcher(opened, settings)
    assert isinstance(chosen, launcher.Launcher)
    return chosen


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("hydra/launcher=", "no launcher is called ''; accel knows basic, joblib, submitit_slurm, submitit_local"),
        ("hydra/launcher=submitit_slrm", "no launcher is called 'submitit_slrm'; did you mean 'submitit_slurm'?"),
        ("hydra/launcher=jblib", "no launcher is called 'jblib'; did you mean 'joblib'?"),
        ("hydra/launcher=basic,joblib", "names several values"),
        ("hydra/launcher=basic hydra.launcher.nodes=1", "nodes is no setting of the launcher"),
        ("hydra.launcher.nodes=2", "Key 'nodes' not in 'BasicLauncherConf'"),
        ("+hydra.launcher.nodes=2", "hydra.launcher.nodes"),
    ],
)
def test_what_is_no_launcher_of_ours(words: str, says: str, opened: Session) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        read(opened, *words.split())


@pytest.mark.parametrize("word", [SLURM, LOCAL])
def test_without_the_package(word: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(hydra_choices, "importable", lambda package: False)
    assert main([word]) == 2
    assert capsys.readouterr().err == (
        f"accel: error: {word} needs the package hydra-submitit-launcher: pip install 'accel-train[slurm]'\n"
    )


@there
@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("hydra.launcher.noodes=2", "hydra.launcher.noodes=2: noodes is no setting of the launcher; did you mean 'nodes'?"),
        ("hydra.launcher.mem_gb=2 hydra.launcher.nodes=two", "hydra.launcher.nodes=two: Value 'two' of type 'str' could not"),
        ("hydra.launcher.nodes=0", "hydra.launcher.nodes must be a whole number from 1, not 0"),
        ("+hydra.launcher.wckey=x", "wckey is no setting of the launcher; for sbatch alone, write +hydra.launcher.additional_par"),
        ("hydra.launcher.qos=${oc.env:NO_SUCH_VARIABLE}", "'NO_SUCH_VARIABLE' not found"),
        ("hydra.launcher=3", "nothing is no setting"),
        ("hydra.launcher.nodes=1,2", "hydra.launcher.nodes=1,2 names several values"),
        ("hydra.launcher._target_=os.system", "_target_ is no setting of the launcher"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be(words: str, says: str, opened: Session) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        read(opened, SLURM, *words.split())


@there
@pytest.mark.parametrize(
    ("words", "nodes", "ranks", "gpus"),
    [
        ("", 1, 1, 0), ("nodes=2 gpus_per_node=8", 2, 8, 8), ("tasks_per_node=4 cpus_per_task=2", 1, 4, 0),
        ("gres='gpu:a100:4,ssd:1'", 1, 4, 4), ("gres='gpu:2'", 1, 2, 2), ("gres='ssd:2'", 1, 1, 0),
        ("tasks_per_node=4 gpus_per_task=1", 1, 4, 4), ("gpus_per_task=2", 1, 2, 2),
    ],
)  # fmt: skip
def test_ranks_of_a_node(words: str, nodes: int, ranks: int, gpus: int, opened: Session) -> None:
    actual = read(opened, SLURM, *(f"hydra.launcher.{word}" for word in words.split()))
    assert (actual.nodes, actual.ranks, actual.gpus) == (nodes, ranks, gpus)


@there
def test_a_file_of_the_users_may_stand_for_it(tmp_path: Path) -> None:
    (tmp_path / "hydra/launcher").mkdir(parents=True)
    (tmp_path / "hydra/launcher/ours.yaml").write_text("defaults:\n  - submitit_slurm\npartition: long\nnodes: 3\n")
    with session(str(tmp_path)) as opened:
        actual = read(opened, "hydra/launcher=ours", "hydra.launcher.nodes=2")
    settings = actual.settings(Path("a base"))
    assert (actual.kind, actual.nodes) == ("slurm", 2)
    assert (settings["partition"], settings["submitit_folder"]) == ("long", "a base/.submitit/%j")


@there
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (f"{LOCAL} epochs=0", "epochs must be"), (f"{LOCAL} seed=0,1", "add --multirun"),
        (f"{LOCAL} -m seed=0,-1", "job 2 of 2"), (f"{LOCAL} hydra.sweep.dir=x", "write hydra.run.dir=x"),
        (f"{LOCAL} hydra.launcher.tasks_per_node=2", "a job has 2 processes, and no plugin makes them train together"),
        (f"{LOCAL} hydra.launcher.nodes=2 +plugins=[ddp]", "can use only one node"),
        (SLURM, "there is no sbatch here"),
        (f"{SLURM} device=cuda", "the launcher asks for no GPU; add hydra.launcher.gpus_per_node=NUMBER"),
        (f"{SLURM} +plugins=[cuda_graph]", "cuda_graph: needs CUDA"),
        (f"{LOCAL} resume=auto", "no run in outputs/ has a checkpoint"),
        (f"{LOCAL} +plugins=[ddp] hydra.launcher.gpus_per_node=1 hydra.launcher.tasks_per_node=2", "a node has 1 of them for"),
    ],
)  # fmt: skip
def test_all_is_checked_before_anything_is_submitted(
    words: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(words.split()) == 2
    message = capsys.readouterr().err
    assert says in message
    assert message.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_gpus_are_those_of_the_machines_that_are_asked_for(opened: Session) -> None:
    words = ["+plugins=[cuda_graph]"]
    assert "cuda_graph" in compose_job(opened, words, cuda=True).plugins
    assert compose_job(opened, [*words, "device=cuda"], cuda=True).settings.device == "cuda"
    with pytest.raises(ConfigError, match="cuda_graph: needs CUDA"):
        compose_job(opened, words, cuda=False)


@there
def test_the_config_is_shown_with_a_launcher_or_without(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--cfg", "job", SLURM, "epochs=3"]) == 0
    assert "epochs: 3" in capsys.readouterr().out
    assert main(["--cfg", "hydra", SLURM, "hydra.launcher.nodes=5", "epochs=3"]) == 0
    assert "nodes: 5" in capsys.readouterr().out
