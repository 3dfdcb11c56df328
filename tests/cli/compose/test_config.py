"""config.yaml, the settings of a run and what is shown of them agree."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import yaml

import accel
from accel.cli.compose.hydra_session import CONF
from accel.errors import ConfigError
from accel.schema.settings import NESTED, Settings

ROOT = yaml.safe_load((CONF / "config.yaml").read_text())


def test_the_file_has_every_setting_and_no_other() -> None:
    settings = {key: value for key, value in ROOT.items() if key not in ("defaults", "vars")}
    flat = {key: value for key, value in settings.items() if key not in NESTED}
    flat |= {f"{group}_{key}": value for group in NESTED for key, value in settings[group].items()}
    assert flat == asdict(Settings()) | {"epochs": ROOT["epochs"]}, "only the number of epochs is the command line's own"


def test_what_is_composed_is_what_is_shown() -> None:
    config = accel.compose(["epochs=3", "+plugins=[amp]", "checkpoint.every=5", "seed=0"])
    assert config.settings == Settings(epochs=3, checkpoint_every=5)
    assert "checkpoint.every=5" in config.settings_line()
    assert "seed=0" in config.settings_line()
    assert yaml.safe_load(config.text) == config.to_dict()
    assert config.to_dict()["checkpoint"] == {"every": 5, "minutes": 10.0, "epochs": 1, "keep": 2, "best": None}


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("epochs=0", "a number above 0, or null, not 0"), ("updates=1.5", "not 1.5"), ("epochs=true", "not true"),
        ("seed=1.5", "not 1.5"), ("checkpoint.every=-1", "not -1"), ("checkpoint.minutes=x", "a number above 0, or null, not 'x'"),
        ("dry_run=1", "true or false, not 1"), ("device=cuda:x", "cuda, cuda:N, mps or xpu"), ("resume=[a]", "a text, or null"),
        ("epochs=???", "epochs is missing: add epochs=VALUE"), ("epochs=${nowhere}", "'nowhere' not found"),
        ("device=cuda:9", "no CUDA device here"),
    ],
)  # fmt: skip
def test_wrong_values(word: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accel.system.machine.has_cuda", lambda: False)
    with pytest.raises(ConfigError) as caught:
        accel.compose([word])
    assert says in str(caught.value)
    assert word.partition("=")[0] in str(caught.value)
