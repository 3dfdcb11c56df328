"""A setting typed in the wrong place, as a flag, or of a plugin that is off: the sentence has it as it is written."""

from __future__ import annotations

import pytest

from accel.cli.arguments import parse
from accel.cli.compose.compose import compose, compose_jobs
from accel.cli.compose.hydra_session import hydra_parser, session
from accel.cli.compose.overrides import jobs
from accel.cli.drill_command import USAGE
from accel.errors import ConfigError, nearest


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("lr=0.1", "lr is no setting of a run; did you mean '+plugins=[sgd]' plugins.sgd.lr=0.1?"),
        ("lr=0.1 +plugins=[adamw]", "did you mean plugins.adamw.lr=0.1?"),
        ("lr=0.1 +experiment=quick", "did you mean plugins.sgd.lr=0.1?"),
        ("learning_rate=1e-3 +plugins=[lamb]", "did you mean plugins.lamb.lr=0.001?"),
        ("plugins.lr=0.1", "no plugin is called 'lr'; did you mean '+plugins=[sgd]' plugins.sgd.lr=0.1?"),
        ("momentum=0.8", "did you mean '+plugins=[sgd]' plugins.sgd.momentum=0.8?"),
        ("every=10", "did you mean checkpoint.every=10 or evaluate.every=10 or plugins.progress.every=10"),
        ("best=accuracy", "did you mean checkpoint.best=accuracy?"),
        ("width=8", "did you mean task.width=8?"),
        ("dtype=float16 +plugins=[amp]", "did you mean plugins.amp.dtype=float16?"),
        ("max_lr=0.2", "or '+plugins=[onecycle]' plugins.onecycle.max_lr=0.2?"),
        ("bs=64", "did you mean batch_size=64?"),
        ("amp=true", "to switch amp on write '+plugins=[amp]'"),
        ("optimizer=adamw", "to switch adamw on write '+plugins=[adamw]'"),
        ("epoch=5", "epoch is no setting of a run; did you mean 'epochs'?"),
        ("task.epochs=5", "epochs is a setting of the run"),
        ("epochs=five", "epochs must be a number above 0, or null, not 'five'"),
        ("epochs=-1", "epochs must be a number above 0, or null, not -1"),
        ("+plugins=[lmb]", "did you mean 'lamb' or 'lmdb'?"),
        ("+plugins=[ema,map]", "did you mean 'amp'?"),
        ("+plugins=[map,ema]", "did you mean 'amp'?"),
        ("+plugins=[ema] +plugins=[map]", "did you mean 'amp'?"),
        ("+plugins=[progres]", "no plugin is called 'progres'; progress is on already"),
        ("plugins.amp.dtype=bfloat16", "plugins.amp.dtype=bfloat16 has no effect: amp is not on; add '+plugins=[amp]'"),
        ("++plugins.amp.dtype=bfloat16", "has no effect: amp is not on"),
        ("plugins.progress.every=3 ~plugins.progress", "'~plugins.progress' switches progress off; leave one of the two out"),
        ("~plugins.amp", "~plugins.amp has no effect: amp is not on; leave it out"),
        ("~plugins.amp +plugins=[ema]", "amp is not on"),
        ("~plugins.amp plugins.amp.dtype=bfloat16", "leave one of the two out"),
    ],
)  # fmt: skip
def test_what_is_typed_in_the_wrong_place(typed: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose(typed.split())
    assert says in str(caught.value)


@pytest.mark.parametrize("names", ["[amp,amp]", "amp,amp", "amp", "[amp] +plugins=[amp]"])
def test_a_plugin_that_is_named_twice_or_without_brackets_is_on(names: str) -> None:
    assert "amp" in compose(f"+plugins={names}".split()).plugins


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("--epochs 5", "train has no flag '--epochs'; write epochs=5"),
        ("--epochs=5", "write epochs=5"),
        ("-epochs 5", "train has no flag '-epochs'; write epochs=5"),
        ("--batch-size 64", "write batch_size=64"),
        ("--dry-run", "write dry_run=true"),
        ("--resume", "write resume=auto"),
        ("--out=runs/one", "write out=runs/one"),
        ("--checkpoint.every 3", "write checkpoint.every=3"),
        ("--plugins=amp", "write '+plugins=[amp]'"),
        ("--plugins amp,ema", "write '+plugins=[amp,ema]'"),
        ("--plugins=[amp]", "write '+plugins=[amp]'"),
        ("-plugins amp", "train has no flag '-plugins'; write '+plugins=[amp]'"),
        ("--plugins", "write '+plugins=[NAME]'"),
        ("--plugins.amp.dtype=float16", "write plugins.amp.dtype=float16"),
        ("--amp", "to switch amp on write '+plugins=[amp]'"),
        ("--lr 0.1", "did you mean '+plugins=[sgd]' plugins.sgd.lr=0.1?"),
        ("--lr 0.1 plugins=[adamw,ema]", "did you mean plugins.adamw.lr=0.1?"),
        ("--task images", "write task=images"),
        ("--experiment=quick", "write experiment=quick"),
        ("--multirn", "did you mean '--multirun'?"),
        ("-x", "train has no flag '-x'; "),
    ],
)
def test_a_setting_that_is_typed_as_a_flag(typed: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(hydra_parser(), typed.split(), "train", settings=True)
    assert says in str(caught.value)


def test_a_drill_takes_settings_too() -> None:
    with pytest.raises(ConfigError, match="drill has no flag '--epochs'; write epochs=5"):
        USAGE.parse(["kill", "--epochs", "5"])


def test_what_is_off_in_one_job_may_be_on_in_another() -> None:
    with session() as opened:
        typed = ["plugins=[],[clip],[clip,ema]", "plugins.clip.max_norm=0.5"]
        configs = compose_jobs(opened, jobs(opened, typed))
        assert [config.plugins["clip"].settings["max_norm"] for config in configs[1:]] == [0.5, 0.5]
        compose_jobs(opened, jobs(opened, ["plugins=[ema],[clip]", "~plugins.clip"]))
        with pytest.raises(ConfigError, match="amp is not on"):
            compose_jobs(opened, jobs(opened, ["plugins=[],[clip]", "plugins.amp.dtype=bfloat16"]))


def test_ties_name_all_and_noise_names_nothing() -> None:
    assert nearest("tarin", ["train", "plugins", "pack", "drill"]) == "; did you mean 'train'?"
    assert nearest("ab", ["ax", "ay", "az", "aw"]) == "; did you mean 'aw' or 'ax' or 'ay'?"
    assert nearest("-x", ["-c", "-h"]) == nearest("", ["a"]) == nearest("xyz", ["amp"]) == ""
