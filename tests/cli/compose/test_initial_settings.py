"""`init=PATH` beside `init.strict` and `init.rename`, and `freeze`, as they are typed."""

from __future__ import annotations

from pathlib import Path

import pytest

import accel
from accel.cli.compose.compose import compose_job
from accel.cli.compose.hydra_session import session
from accel.errors import ConfigError


def test_the_short_form_leaves_the_other_settings() -> None:
    config = accel.compose(["init=runs/first", "init.strict=false", "init.rename={backbone.*:encoder.*,fc.*:head.*}"])
    settings = config.settings
    assert (settings.init_from, settings.init_strict) == ("runs/first", False)
    assert settings.init_rename == {"backbone.*": "encoder.*", "fc.*": "head.*"}
    assert (
        accel.compose(["init.strict=false", "init=runs/first"]).settings
        == accel.compose(["init={from:runs/first,strict:false}"]).settings
    )
    assert accel.compose(["+init.from=a.pt"]).settings.init_from == "a.pt"
    assert accel.compose(["init=null"]).settings.init_from is None
    assert " init=runs/first " in config.settings_line()
    assert "init" not in accel.compose([]).settings_line()


def test_lists_of_rules() -> None:
    rules = accel.compose([r"init.rename=[{match:'re:a[.](.*)',to:'b.\1'}]"]).settings.init_rename
    assert rules == [{"match": "re:a[.](.*)", "to": r"b.\1"}]
    typed = accel.compose(["freeze=[backbone.*,{match:'head.*',until:0.5}]"]).settings.freeze
    assert typed == ["backbone.*", {"match": "head.*", "until": 0.5}]
    assert accel.compose(["freeze=backbone.*"]).settings.freeze == ["backbone.*"]


def test_a_file_may_have_the_short_form_and_the_trainer_gets_it(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/tuned.yaml").write_text("# @package _global_\ninit: weights.pt\nfreeze: ['0.*']\n")
    with session(str(tmp_path)) as opened:
        config = compose_job(opened, ["+experiment=[tuned]"])
    assert config.settings.init_from == "weights.pt"
    trainer = config.trainer()
    assert trainer.initial_weights == "weights.pt"
    assert trainer.settings.freeze == ["0.*"]


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("init=3", "init must be a text, or null, not 3"), ("init.strict=maybe", "init.strict must be true or false"),
        ("init.rename=a", "init.rename must be a dict, or a list, or null, not 'a'"), ("init.form=a", "did you mean 'init.from'?"),
        ("freez=[a]", "did you mean 'freeze'?"), ("freeze=[{match:a,untl:3}]", "freeze[0] has no untl; did you mean 'until'?"),
        ("freeze=[{until:3}]", "freeze[0] must be a pattern"),
    ],
)  # fmt: skip
def test_what_is_mistyped_is_answered(typed: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        accel.compose([typed])
    assert says in str(caught.value)
