"""Whatever is typed, and whatever stands in a config file: a run that is checked, or one sentence that names the bad word."""

from __future__ import annotations

import random
import shutil
import string
from pathlib import Path

import pytest

from accel.cli.compose.compose import compose
from accel.cli.compose.hydra_session import CONF
from accel.errors import ConfigError
from tests.support.drill_length import times

pytestmark = pytest.mark.slow

KEYS = [
    "plugins",
    "+plugins",
    "~plugins",
    "++plugins",
    "plugins.amp",
    "plugins.amp.dtype",
    "+plugins.amp",
    "epochs",
    "task",
    "task.width",
    "+experiment",
    "experiment",
    "hydra.run.dir",
    "hydra.searchpath",
    "seed",
    "checkpoint",
    "checkpoint.every",
    "plugins@x",
    "+plugins@",
    "_target_",
    "plugins.amp._target_",
    "task._target_",
    "~task",
    "~plugins.amp",
    "~plugins.progress",
    "out",
    "resume",
    "vars.x",
]
VALUES = [
    "amp",
    "[amp,onecycle]",
    "[amp",
    "null",
    "",
    "{a:1}",
    "1e400",
    "-1",
    "nan",
    "inf",
    "abc",
    "${epochs}",
    "${",
    "${oc.env:NOWHERE}",
    "${x}",
    "[[amp]]",
    "'",
    '"',
    "a b",
    "é中",
    "choice(1,2)",
    "range(1,3)",
    "1,2",
    "[amp,amp]",
    "true",
    "0x10",
    "1_000",
    "glob(*)",
    "sort(3,2)",
    "int(a)",
    "{",
    "}",
    ":",
    "=",
    "a=b",
    "quick",
    "[quick]",
    "adamw",
    "[null]",
    "[1]",
    "[amp,1]",
    "../../etc/passwd",
    "/etc/passwd",
    "amp.yaml",
    "os.system",
    "torch.load",
    "???",
    "pathlib.Path",
    "interval(0,1)",
    "shuffle(1,2)",
    "${hydra:run.dir}",
    "3",
    "float16",
]


def line(rng: random.Random) -> list[str]:
    """One to three overrides, some of them with a stray character."""
    words = []
    for _ in range(rng.randint(1, 3)):
        key = rng.choice(KEYS)
        if rng.random() < 0.15:
            place = rng.randint(0, len(key))
            key = key[:place] + rng.choice(string.printable[:90]) + key[place:]
        words.append(key + (f"={rng.choice(VALUES)}" if rng.random() < 0.95 else ""))
    return words


def named(message: str, words: list[str]) -> bool:
    """Whether a message names one of the words, or the key or a value in one."""
    pieces = {piece.strip("+~[]{}'\"") for word in words for piece in [word, *word.split("="), *word.partition("=")[2].split(",")]}
    return any(piece and piece in message for piece in pieces | {piece.rpartition(".")[2] for piece in pieces})


def complaint(words: list[str], conf: str | None = None) -> str:
    """The sentence that the command line answers with; empty where it would go on. Any other exception fails the test."""
    try:
        compose(words, config_dir=conf)
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("seed", range(times(2, 200)))
def test_fifty_lines(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(50):
        words = line(rng)
        sentence = complaint(words)
        assert not sentence or named(sentence, words), (words, sentence)
        assert "\n" not in sentence, words


def mangle(text: str, rng: random.Random) -> str:
    """One thing about a config file spoiled."""
    lines = text.splitlines()
    place = rng.randrange(len(lines))
    match rng.randrange(8):
        case 0:
            return text[: rng.randrange(len(text))]
        case 1:
            del lines[place]
        case 2:
            lines[place] = f"\t{lines[place]}"
        case 3:
            lines[place] = lines[place].replace(":", "", 1)
        case 4:
            lines[place] = lines[place].replace(":", ": [", 1)
        case 5:
            lines.insert(place, rng.choice(["wrogn: 3", "- x", "{", "? a", "%", "&a *b", "_target_: os.system", "a: ${nowhere}"]))
        case 6:
            lines[place] = f"  {lines[place]}"
        case 7:
            spot = rng.randrange(len(text))
            return text[:spot] + rng.choice("\x00\x7f{}[]:#&*!|>'\"%@`é") + text[spot:]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("seed", range(times(20, 1000)))
def test_a_mangled_file(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    path = rng.choice([f"{name}.yaml" for name in ("plugins/amp", "plugins/onecycle", "task/digits", "experiment/quick")])
    (tmp_path / path).parent.mkdir()
    shutil.copy(CONF / path, tmp_path / path)
    (tmp_path / path).write_text(mangle((CONF / path).read_text(), rng), encoding="utf-8")
    sentence = complaint(["+plugins=[amp,onecycle]", "+experiment=quick"], str(tmp_path))
    assert "\n" not in sentence
    assert not sentence or path.removesuffix(".yaml").partition("/")[2] in sentence
