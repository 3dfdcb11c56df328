"""A trainer with overrides is what a command would compose; the trainer that it is made of stays as it is."""

from __future__ import annotations

from typing import Any

import pytest

from accel.diagnose.decision.run_overrides import Overrides
from accel.diagnose.trials.trainer_variant import trainer_variant
from accel.errors import ConfigError
from accel.plugins import AdamW, Threads
from accel.testing.toy_run import Toy


def test_plugins_and_settings_are_changed_in_a_copy(tmp_path: Any) -> None:
    plugins = [AdamW(lr=0.1), "clip"]
    trainer = Toy(plugins=plugins, out=tmp_path / "run", batch_size=4, evaluate_epochs=1)
    settings = (("plugins.adamw.fused", False), ("plugins.threads.count", 3), ("evaluate.epochs", 2), ("batch_size", 8))
    variant = trainer_variant(trainer, Overrides(("threads",), settings))
    made = {plugin.name: plugin for plugin in variant.plugins}
    assert list(made) == ["adamw", "clip", "threads"]
    assert made["adamw"].settings == {**plugins[0].settings, "fused": False}  # type: ignore[attr-defined]
    assert isinstance(made["threads"], Threads)
    assert made["threads"].count == 3
    assert (variant.settings.evaluate_epochs, variant.settings.batch_size, variant.settings.out) == (2, 8, None)
    assert variant.watch == ()
    assert (trainer.plugins, trainer.settings.batch_size, trainer.settings.evaluate_epochs) == (plugins, 4, 1)
    assert plugins[0].fused is not False  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (Overrides(("no_such",)), "no plugin is called 'no_such'"),
        (Overrides(settings=(("plugins.threads.count", 2),)), "threads is not on"),
        (Overrides(("threads",), (("plugins.threads.count", 0),)), "threads.count must be"),
        (Overrides(settings=(("task.decoder", "simplejpeg"),)), "task is no setting of a run"),
    ],
)
def test_what_there_is_not_is_refused(overrides: Overrides, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        trainer_variant(Toy(), overrides)
