"""What Hydra does in silence with lists of plugins, with order, and with files that lack a line: each a test that it is closed."""

from __future__ import annotations

import re
from itertools import permutations
from pathlib import Path

import pytest

import accel
from accel.cli.compose.config import Config
from accel.errors import ConfigError


def compose(*words: str, conf: Path | None = None) -> Config:
    return accel.compose(words, config_dir=None if conf is None else str(conf))


def write(root: Path, name: str, text: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return root


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """A directory of the user's with an experiment that sets a plugin, and a bundle that does."""
    sets = "plugins:\n  clip:\n    max_norm: 0.25\n"
    write(tmp_path, "experiment/mine.yaml", f"# @package _global_\ndefaults:\n  - /plugins: [clip, ema]\n{sets}")
    write(tmp_path, "plugins/pack.yaml", "# @package plugins\ndefaults:\n  - ema\n  - clip\n  - _self_\nclip:\n  max_norm: 0.5\n")
    return tmp_path


@pytest.mark.slow
def test_all_forms_add_up() -> None:
    for line in (
        "+plugins=[amp,clip,ema]", "plugins=[amp,clip,ema]", "plugins=amp,clip,ema", "+plugins=amp +plugins=[clip] plugins=ema",
        "plugins=[amp] plugins=[clip,ema]", "plugins=[amp,amp] +plugins=[clip,ema,clip]",
    ):  # fmt: skip
        assert set(compose(*line.split()).plugins) == {"amp", "clip", "ema", "progress", "metrics"}, line


@pytest.mark.slow
def test_an_experiment_keeps_its_settings_whatever_the_order(conf: Path) -> None:
    words = ["+experiment=mine", "+plugins=[clip,amp]", "epochs=7"]
    for order in permutations(words):
        config = compose(*order, conf=conf)
        assert config.plugins["clip"].settings["max_norm"] == 0.25
        assert set(config.plugins) == {"clip", "ema", "amp", "progress", "metrics"}
        assert config.settings.epochs == 7


@pytest.mark.parametrize("form", ["plugins=[amp]", "+plugins=[amp]", "plugins=amp"])
def test_a_list_beside_an_experiment_leaves_no_orphan(form: str, conf: Path) -> None:
    config = compose(form, "experiment=mine", conf=conf)
    assert set(config.plugins) >= {"amp", "clip", "ema"}
    assert not config.idle


def test_a_bundle_keeps_its_settings_whatever_the_order(conf: Path) -> None:
    for form in ("plugins=[pack,clip]", "plugins=[clip,pack]"):
        assert compose(form, conf=conf).plugins["clip"].settings["max_norm"] == 0.5
    assert compose("plugins=[clip,pack]", "plugins.clip.max_norm=2", conf=conf).plugins["clip"].settings["max_norm"] == 2.0


def test_override_in_an_experiment_drops_nothing_in_silence(tmp_path: Path) -> None:
    write(tmp_path, "experiment/takes.yaml", "# @package _global_\ndefaults:\n  - override /plugins: [clip]\n")
    assert "clip" in compose("+experiment=takes", conf=tmp_path).plugins
    with pytest.raises(ConfigError, match=r"drops amp .*- /plugins: \[\.\.\.\]"):
        compose("+plugins=[amp]", "+experiment=takes", conf=tmp_path)


def test_settings_of_a_plugin_that_is_not_on_are_told(tmp_path: Path) -> None:
    write(tmp_path, "experiment/half.yaml", "# @package _global_\nplugins:\n  amp:\n    dtype: float16\n")
    with pytest.raises(ConfigError, match=r"half.yaml: plugins.amp has no effect: amp is not on; add '\+plugins=\[amp\]'"):
        compose("+experiment=half", conf=tmp_path)
    with pytest.raises(ConfigError, match="did you mean 'dtype'"):
        compose("plugins.amp.dtypo=float16")


@pytest.mark.parametrize("head", ["", "# package plugins.mine\n", "# @package plugins.other\n"])
def test_a_file_without_its_package_line_is_told_which(head: str, tmp_path: Path) -> None:
    write(tmp_path, "plugins/mine.yaml", f"{head}_target_: accel.plugins.ema.EMA\ndecay: 0.9\n")
    with pytest.raises(ConfigError, match=r"mine\.yaml must begin with the line `# @package plugins\.mine`"):
        compose("plugins=[mine]", conf=tmp_path)


def test_a_file_without_a_class_is_told(tmp_path: Path) -> None:
    for text in ("", "# @package plugins.mine\n", "# @package plugins.mine\ndecay: 0.5\n"):
        write(tmp_path, "plugins/mine.yaml", text)
        with pytest.raises(ConfigError, match=r"mine\.yaml names no class: add the line `_target_"):
            compose("plugins=[mine]", conf=tmp_path)


@pytest.mark.slow
def test_the_default_watches_stay_until_they_are_switched_off() -> None:
    assert set(compose("plugins=[amp]").plugins) == {"amp", "progress", "metrics"}
    assert set(compose("plugins=[]").plugins) == {"progress", "metrics"}
    assert set(compose("~plugins.progress").plugins) == {"metrics"}
    assert set(compose("~plugins.progress", "plugins=[progress]", "~plugins.metrics").plugins) == set()
    assert compose("plugins.progress.every=3").plugins["progress"].settings["every"] == 3.0


def test_one_plugin_for_each_part(conf: Path) -> None:
    with pytest.raises(ConfigError, match=r"plugins adamw and sgd both provide Optim; keep one: '~plugins.adamw'"):
        compose("+plugins=[sgd,adamw]")
    assert "adamw" not in compose("+plugins=[sgd,adamw]", "~plugins.adamw").plugins
    write(conf, "plugins/speed.yaml", "# @package plugins\ndefaults:\n  - adamw\n  - amp\n")
    config = compose("+plugins=[sgd,speed]", conf=conf)
    assert config.skipped == {"adamw": "sgd provides Optim"}
    assert set(config.plugins) >= {"sgd", "amp"}


def test_what_cannot_work_here_is_an_error_by_name_and_a_skip_in_a_bundle(tmp_path: Path) -> None:
    words = ["device=cpu", "plugins.amp.dtype=float16"]
    with pytest.raises(ConfigError, match=r"amp: dtype=float16 needs CUDA.*use plugins\.amp\.dtype=bfloat16"):
        compose("+plugins=[amp]", *words)
    write(tmp_path, "plugins/speed.yaml", "# @package plugins\ndefaults:\n  - clip\n  - amp\n")
    config = compose("+plugins=[speed]", *words, conf=tmp_path)
    assert "dtype=float16 needs CUDA" in config.skipped["amp"]
    assert "clip" in config.plugins
    assert "amp" not in config.plugins
    with pytest.raises(ConfigError, match="needs CUDA"):
        compose("+plugins=[speed,amp]", *words, conf=tmp_path)


def test_files_of_the_user_come_first(tmp_path: Path) -> None:
    write(tmp_path, "plugins/clip.yaml", "# @package plugins.clip\n_target_: accel.plugins.clip.Clip\nmax_norm: 9.0\n")
    assert compose("plugins=[clip]", conf=tmp_path).plugins["clip"].settings == {"max_norm": 9.0}


def test_hydra_settings_without_effect_are_refused() -> None:
    for words in ("hydra.run.dir=x", "hydra/launcher=basic", "hydra.job.chdir=true"):
        with pytest.raises(ConfigError, match="has no effect: accel starts the jobs"):
            compose(words)


def test_a_bundle_that_lists_itself(tmp_path: Path) -> None:
    write(tmp_path, "plugins/fine.yaml", "# @package _global_\ndefaults:\n  - /plugins: [amp]\n")
    assert "amp" in compose("plugins=[fine]", conf=tmp_path).plugins
    write(tmp_path, "plugins/loop.yaml", "# @package plugins\ndefaults:\n  - loop\n")
    with pytest.raises(ConfigError, match=r"plugins=\[loop\].*lists itself"):
        compose("plugins=[loop]", conf=tmp_path)


def test_own_values_for_interpolation() -> None:
    assert compose("vars.n=3", "epochs=${vars.n}").settings.epochs == 3


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("epochs: 2\n", r"mine\.yaml must begin with the line `# @package _global_`"),
        ("", r"mine\.yaml must begin with the line `# @package _global_`"),
        ("# @package _global_\nepochs: two\n", r"mine\.yaml: epochs must be a number above 0, or null, not 'two'"),
        ("# @package _global_\nplugins: [amp]\n", r"mine\.yaml: plugins is no list there; .*`- /plugins: \[amp\]`"),
        ("# @package _global_\ndefaults:\n  - plugins: [amp]\n", r"no config 'experiment/plugins/amp'; did you mean `/plugins`"),
    ],
)
def test_an_experiment_that_lacks_something_is_told_what(text: str, says: str, tmp_path: Path) -> None:
    write(tmp_path, "experiment/mine.yaml", text)
    with pytest.raises(ConfigError, match=says):
        compose("+experiment=mine", conf=tmp_path)


def test_a_bundle_is_not_switched_off_in_silence(conf: Path) -> None:
    with pytest.raises(ConfigError, match=r"~plugins\.pack: pack only lists plugins"):
        compose("+plugins=[pack]", "~plugins.pack", conf=conf)


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("out=é", "write 'out=\"é\"'"), ("out=a=b", "write 'out=\"a=b\"'"), ("out=[a", "close each bracket and quote"),
        ("freeze=[{'match':'0.*'}]", "what stands before a ':' takes no quotes"), ("init.rename={'*':x}", "leave them out"),
        ("task.root=~/x", "write task.root=/home/x"), ("plugins=[],[amp]", "names several lists; add --multirun"),
    ],
)  # fmt: skip
def test_a_word_that_hydra_cannot_read_is_written_as_it_can(word: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home")
    with pytest.raises(ConfigError, match=re.escape(says)):
        compose(word)
