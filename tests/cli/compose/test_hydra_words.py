from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from accel.cli.compose.compose import compose_job
from accel.cli.compose.hydra_session import Session, session
from accel.cli.compose.hydra_settings import HydraSettings, read_hydra_settings
from accel.cli.compose.hydra_words import KNOWN, REFUSED, refusal
from accel.cli.train_command import main
from accel.errors import AccelWarning, ConfigError


@pytest.fixture
def opened() -> Iterator[Session]:
    with session() as hydra_session:
        yield hydra_session


def read(opened: Session, words: list[str], multirun: bool = False) -> tuple[HydraSettings, list[str]]:
    return read_hydra_settings(opened, words, multirun)


def test_directories_are_named_as_hydra_names_them(opened: Session) -> None:
    assert read(opened, ["hydra.run.dir=a/b", "epochs=2"])[1] == ["epochs=2", "out=a/b"]
    assert read(opened, ["hydra.sweep.dir=a", "seed=0,1"], multirun=True)[1] == ["seed=0,1", "out=a"]
    assert read(opened, ["hydra.sweep.dir=a", "seed=0,1", "hydra.mode=MULTIRUN"])[0].multirun
    assert (
        read(opened, ["hydra.job.name=mine", "hydra.run.dir=logs/${hydra.job.name}/${seed}", "seed=3"])[1][-1] == "out=logs/mine/3"
    )
    assert re.fullmatch(r"out=logs/\d{4}-\d\d-\d\d", read(opened, ["hydra.run.dir=logs/${now:%Y-%m-%d}"])[1][0])


def test_a_word_without_hydra_costs_no_composition(opened: Session) -> None:
    settings, words = read(opened, ["epochs=2", "hydrant=1"])
    assert (settings.is_used, words, settings.folder(3, words)) == (False, ["epochs=2", "hydrant=1"], "3")


@pytest.mark.parametrize(
    ("subdir", "folders"),
    [
        ("${hydra.job.num}", ["0", "1"]),
        ("${hydra.job.override_dirname}", ["epochs=2,seed=0", "epochs=2,seed=1"]),
        ("${hydra.job.name}-${seed}", ["accel-0", "accel-1"]),
        ("s${hydra:job.num}", ["s0", "s1"]),
    ],
)
def test_a_job_has_the_folder_that_hydra_would_give_it(subdir: str, folders: list[str], opened: Session) -> None:
    settings, _ = read(opened, [f"hydra.sweep.subdir={subdir}", "seed=0,1", "epochs=2"], multirun=True)
    assert settings.folders([["seed=0", "epochs=2", "out=x"], ["seed=1", "epochs=2", "out=x"]]) == folders


def test_names_of_overrides_are_joined_as_hydra_is_told(opened: Session) -> None:
    words = [
        "hydra.sweep.subdir=${hydra.job.override_dirname}", "hydra.job.config.override_dirname.exclude_keys=[epochs]",
        "hydra.job.config.override_dirname.kv_sep=-", "hydra.job.config.override_dirname.item_sep=_",
    ]  # fmt: skip
    settings, _ = read(opened, [*words, "seed=0,1", "batch_size=8"], multirun=True)
    assert settings.folder(0, ["seed=1", "epochs=3", "batch_size=8"]) == "batch_size-8_seed-1"


@pytest.mark.parametrize(
    ("words", "multirun", "sentence"),
    [
        ("hydra.run.dir=x", True, "one run, and these are several: write hydra.sweep.dir=x"),
        ("hydra.sweep.dir=x", False, "a multirun, and this is one run: write hydra.run.dir=x"),
        ("hydra.run.dir=x out=y", False, "hydra.run.dir=x and out=y name two directories; leave one of them out"),
        ("hydra.run.dir=${nothing}", False, "hydra.run.dir=${nothing}: Interpolation key 'nothing' not found"),
        ("hydra.run.dir=null", False, "hydra.run.dir=null"),
        ("hydra.job.nmae=x", False, "no setting of Hydra's is called so; did you mean 'hydra.job.name'?"),
        ("hydra.rnu.dir=x", False, "did you mean 'hydra.run.dir'?"),
        ("hydra.job.chdir=true", False, "stays in the directory in which it was started"),
        ("hydra.output_subdir=.hydra", False, "the config of a run is in its directory, config.yaml"),
        ("hydra.job.env_set.A=1", False, "set it before the command"),
        ("hydra.job.num=3", False, "each job has its own"),
        ("hydra/job_logging=none", False, "Python's logging is left as it is"),
        ("hydra.verbose={a:1}", False, "write hydra.verbose=true"),
        ("hydra=3", False, "no setting of Hydra's is called so"),
    ],
)
def test_what_a_run_has_not_is_refused(words: str, multirun: bool, sentence: str, opened: Session) -> None:
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        read(opened, words.split(), multirun)


def test_one_folder_for_two_jobs_is_refused(opened: Session) -> None:
    settings, _ = read(opened, ["hydra.sweep.subdir=one", "seed=0,1"], multirun=True)
    with pytest.raises(
        ConfigError, match=r"hydra.sweep.subdir=one: jobs 1 and 2 would write to one; let it have \$\{hydra.job.num\}"
    ):
        settings.folders([["seed=0"], ["seed=1"]])


def test_what_asks_for_what_is_the_case_is_accepted(opened: Session) -> None:
    assert (
        read(opened, ["hydra.job.chdir=false", "hydra.output_subdir=null", "hydra/launcher=basic", "hydra/sweeper=basic"])[1] == []
    )


def test_every_setting_of_hydras_is_known_or_has_a_reason(opened: Session) -> None:
    groups = {key.partition(".")[0] for key in (*KNOWN, *REFUSED)}
    assert groups == {"hydra"}
    node = opened.compose_multirun([]).hydra
    keys = {f"hydra.{key}" for key in node if key not in ("job", "run", "sweep")}
    keys |= {f"hydra.{group}.{key}" for group in ("job", "run", "sweep") for key in node[group]}
    unknown = [key for key in keys if "is called so" in refusal(key, "x")]
    assert sorted(unknown) == ["hydra.job.config", "hydra.sweep.mode"] or unknown == ["hydra.job.config"]


def test_other_settings_refer_to_hydras(opened: Session) -> None:
    read(opened, ["hydra.job.name=mine"])
    config = compose_job(opened, ["vars.a=${hydra.job.name}", "vars.b=${hydra:job.name}", "out=${vars.a}-${vars.b}"])
    assert config.settings.out == "mine-mine"


def test_loggers_are_named(opened: Session) -> None:
    logger = logging.getLogger("mine.data")
    try:
        assert read(opened, ["hydra.verbose=[mine.data,mine.other]"])[1] == []
        assert logger.level == logging.DEBUG
    finally:
        logger.setLevel(logging.NOTSET)


PRIMARY = """
defaults:
  - config
  - _self_
  - experiment: null
  - hparams_search: null
  - override task: digits

epochs: 3
hydra:
  run:
    dir: logs/${hydra.job.name}/one
  sweep:
    dir: logs/many
    subdir: ${hydra.job.override_dirname}
  job:
    name: mine
"""


def own(folder: Path, text: str = PRIMARY, **more: str) -> Path:
    """A directory with a primary config of one's own, `my.yaml`, and other files by their paths, `__` for each slash."""
    for path, content in {"my": text, **more}.items():
        file = folder / "conf" / f"{path.replace('__', '/')}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return folder / "conf"


@pytest.mark.parametrize("flag", ["--config-path", "--config-dir"])
def test_a_primary_config_of_ones_own_has_its_say(flag: str, tmp_path: Path) -> None:
    conf = str(own(tmp_path, experiment__fast="# @package _global_\nepochs: 1\n"))
    with session(**{flag.lstrip("-").replace("-", "_"): conf}, config_name="my") as opened:
        settings, words = read(opened, ["seed=3", "experiment=fast"])
        assert words == ["seed=3", "experiment=fast", "out=logs/mine/one"]
        config = compose_job(opened, words)
        assert (config.settings.epochs, config.settings.out) == (1, "logs/mine/one")
        settings, words = read(opened, ["seed=0,1"], multirun=True)
        assert words == ["seed=0,1", "out=logs/many"]
        assert settings.folders([["seed=0", "out=logs/many"], ["seed=1", "out=logs/many"]]) == ["seed=0", "seed=1"]
        assert read(opened, ["out=there"])[1] == ["out=there"]
        assert read(opened, ["hydra.run.dir=here"])[1] == ["out=here"]


def test_a_config_like_that_of_lightning_hydra_template(tmp_path: Path) -> None:
    """Its file for Hydra stands in conf/hydra/, and names loggers that accel has not: a warning."""
    hydra = (
        "defaults:\n  - override job_logging: none\n\nrun:\n  dir: ${vars.log_dir}/${vars.task_name}/runs/${now:%Y}\n"
        "sweep:\n  dir: ${vars.log_dir}/${vars.task_name}/multiruns\n  subdir: ${hydra.job.num}\n"
    )
    primary = (
        "defaults:\n  - config\n  - hydra: default\n  - experiment: null\n  - _self_\nvars:\n  log_dir: logs\n  task_name: train\n"
    )
    conf = str(own(tmp_path, primary, hydra__default=hydra))
    with session(config_path=conf, config_name="my") as opened:
        with pytest.warns(AccelWarning, match="hydra/job_logging=none has no effect: Python's logging is left as it is"):
            _, words = read(opened, ["seed=0,1"], multirun=True)
        assert words[-1] == "out=logs/train/multiruns"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("job:\n    chdir: true", "conf/my.yaml: hydra.job.chdir has no effect: a run stays in the directory"),
        (
            "callbacks:\n    a:\n      _target_: mine.A",
            "hydra.callbacks.a._target_ has no effect: what looks on at a run is a Watch",
        ),
        ("launhcer: 3", "Key 'launhcer'"),
    ],
)
def test_what_a_file_sets_in_vain_is_refused(text: str, sentence: str, tmp_path: Path) -> None:
    conf = own(tmp_path, f"defaults:\n  - config\n  - _self_\nhydra:\n  {text}\n")
    with session(config_path=str(conf), config_name="my") as opened, pytest.raises(ConfigError, match=re.escape(sentence)):
        read(opened, [])


@pytest.mark.slow
def test_a_run_lies_where_hydra_was_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn", reason="needs the extra demo")
    monkeypatch.chdir(tmp_path)
    quiet = ["updates=2", "plugins.metrics.curves=false", "plugins.metrics.report=false"]
    assert main(["hydra.run.dir=one", *quiet]) == 0
    assert (tmp_path / "one/summary.json").exists()
    subdir = "hydra.sweep.subdir=s-${hydra.job.override_dirname}"
    exclude = "hydra.job.config.override_dirname.exclude_keys=[updates,plugins.metrics.curves,plugins.metrics.report,+plugins]"
    assert main(["-m", "hydra.sweep.dir=many", subdir, exclude, *quiet, "seed=0,1", "+plugins=[csv]"]) == 0
    assert [(tmp_path / f"many/s-+plugins=[csv],seed={number}/metrics.csv").exists() for number in (0, 1)] == [True, True]
