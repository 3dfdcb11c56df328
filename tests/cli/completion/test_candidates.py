"""What can be typed at the cursor: every candidate exists, none is missing, and finding them imports nothing slow."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

from accel.cli.commands import COMMANDS
from accel.cli.completion.candidates import candidates
from accel.cli.completion.completion_command import main, query
from accel.cli.completion.override_candidates import LAUNCHERS, SWEEPERS, listed_words
from accel.cli.completion.shell_words import split_line
from accel.cli.compose.compose import compose_job
from accel.cli.compose.hydra_choices import GROUPS
from accel.cli.compose.hydra_session import hydra_parser, session
from accel.cli.pack.pack_command import Encoding, Format
from accel.cli.train_command import USAGE
from accel.data.stores.encoding_recipe import ENCODERS
from accel.data.stores.formats import FORMATS
from accel.schema import plugin_registry
from accel.schema.settings import Settings, typed_name

ELSEWHERE = (
    "device=cuda", "device=mps", "device=xpu", "plugins.amp.dtype=float16", "task=hf", "task=images", "task=text",
    "+experiment=cifar10_94",
)  # fmt: skip
"""What needs a GPU, or data."""


def words(line: str) -> list[str]:
    return [word for word, _ in candidates(split_line(line))]


def test_all_plugins_and_all_of_their_settings() -> None:
    names = [word.removeprefix("~plugins.") for word in words("accel train ~plugins.")]
    assert set(plugin_registry.names()) <= set(names)
    for name in plugin_registry.names():
        page = plugin_registry.plugin_signature(name)
        assert words(f"accel train plugins.{name}.") == [f"plugins.{name}.{setting}=" for setting in page.settings]


def test_all_settings_of_the_run() -> None:
    typed = words("accel train ")
    assert {f"{typed_name(field.name)}=" for field in fields(Settings)} <= set(typed)
    assert {"+plugins=[", "task=", "+experiment="} <= set(typed)


def test_what_is_offered_can_be_typed() -> None:
    lines = ["task=", "device=", "bad_data=", "dry_run=", "+experiment=", "plugins.amp.dtype=", "plugins.threads.", "task."]
    offered = [word for line in lines for word in words(f"accel train +plugins=[amp,threads] {line}")]
    assert len(offered) > 15
    with session() as opened:
        for word in offered:
            if not word.endswith("=") and word not in ELSEWHERE:
                compose_job(opened, ["+plugins=[amp]", word])


def test_plugins_that_are_on_are_not_offered_again() -> None:
    assert "+plugins=[amp,clip" in words("accel train +plugins=[amp,")
    assert "+plugins=[amp,amp" not in words("accel train +plugins=[amp,")
    assert words("accel train +plugins=[ema] +plugins=[em") == []
    assert words("accel train +plugins=[ema] plugins.e") == ["plugins.ema."]


def test_files_of_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "conf/task").mkdir(parents=True)
    (tmp_path / "conf/task/mine.yaml").write_text("# @package task\n_target_: accel.tasks.digits.Digits\nwidth: 3\n")
    monkeypatch.chdir(tmp_path)
    assert words("accel train --config-dir conf task=m") == ["task=mine"]
    assert words("accel train --config-dir=conf task=mine task.w") == ["task.width="]
    assert words("accel train --config-dir c") == ["conf/"]
    assert words("accel train task=images task.root=con") == ["task.root=conf/"]


def test_tables_agree_with_what_they_stand_for() -> None:
    flags = {name for flag in USAGE.all_flags for name in flag.names}
    hydras = {name for action in hydra_parser()._actions for name in action.option_strings}
    assert hydras - flags == {"--run", "-r", "--experimental-rerun"}, "the first does nothing, the second is refused"
    assert flags <= hydras
    assert set(LAUNCHERS) | {"basic"} == set(GROUPS["hydra/launcher"])
    assert set(SWEEPERS) | {"basic"} == set(GROUPS["hydra/sweeper"])
    assert get_args(Encoding) == tuple(ENCODERS)
    assert get_args(Format) == tuple(FORMATS)


def test_words_of_a_line() -> None:
    assert split_line("""accel 'a b' "c d" e\\ f 'g""").words == ["accel", "a b", "c d", "e f", "g"]
    assert split_line("accel  x ").words == ["accel", "x", ""]
    assert (split_line("accel 'g h").raw, split_line("accel 'g h").quote) == ("'g h", "'")
    assert listed_words("pad (moved) | resized | none") == [("pad", "moved"), ("resized", ""), ("none", "")]
    assert listed_words("plain text") == []


def test_a_failure_at_a_tab_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert query("bash", "ls ") == []
    assert main(["query"]) == 0
    assert capsys.readouterr().out == ""


def test_the_words_of_commands_about_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path)
    assert words("accel evaluate r") == words("accel predict r") == words("accel predict run r") == ["run/"]
    assert words("accel evaluate run weights=") == ["weights=best", "weights=last"]
    assert words("accel evaluate run out=r") == ["out=run/"]
    assert "task.width=" in words("accel evaluate run task.")
    assert words("accel predict run format=") == ["format=table", "format=jsonl", "format=csv"]
    assert {"top=", "run/"} <= set(words("accel predict run "))


SLOW = ["train +plugins=[", "pack --encoding ", "drill kill task.", "plugins ", "evaluate run we", "predict run format="]
"""Lines to complete, behind `accel`."""


@pytest.mark.parametrize("line", [f"accel {line}" for line in SLOW])
def test_nothing_slow_is_imported(line: str) -> None:
    code = (
        "import sys\nfrom accel.cli.completion.completion_command import query\n"
        f"assert query('bash', {line!r})\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "hydra", "omegaconf", "yaml", "rich", "PIL"} & set(done.stdout.split())


def test_every_command_is_loaded_without_anything_slow() -> None:
    code = "import sys\nfrom accel.cli.commands import COMMANDS\nfor command in COMMANDS: command.load().USAGE\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "hydra", "omegaconf", "rich"} & set(done.stdout.split())
    assert [command.load().USAGE.command for command in COMMANDS] == [command.name for command in COMMANDS]
