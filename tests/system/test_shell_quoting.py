"""What is printed to be pasted: a shell and Hydra read the very text, whatever it holds."""

from __future__ import annotations

import shlex
import subprocess

from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import assume, example, given, settings, strategies
from omegaconf import OmegaConf

from accel.errors import visible
from accel.system.shell_quoting import command_line, override, quote, setting

PARSER = OverridesParser.create()
PIECES = [
    *"ab \\\n\t\r'\"$`{}[](),=:!#%&*?~;|<>@^-+./0é", "\x1b", "\x7f", "\x9b", "\u202e", "\u2028", "\udcff", "\ud800", "${a}",
    "$(x)", "\\'", '\\"', "null", "\\\n",
]  # fmt: skip
TEXTS = strategies.lists(strategies.sampled_from(PIECES), max_size=7).map("".join)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(TEXTS)
@example("ends in a backslash and a newline\\\n")
def test_hydra_reads_the_very_text(text: str) -> None:
    assume(text != "???")  # which is OmegaConf's own word for a value that is missing
    value = PARSER.parse_override(setting("resume", text)).value()
    config = OmegaConf.create({"a": "another", "resume": getattr(value, "text", value)})
    assert config.resume == text


@settings(max_examples=150, deadline=None, derandomize=True)
@given(TEXTS)
@example("ends in a backslash and a newline\\\n")
def test_nothing_that_a_terminal_obeys_is_printed(text: str) -> None:
    word = override("resume", text)
    assert visible(word) == word
    if visible(text) == text:
        assert shlex.split(word) == [setting("resume", text)], "as it was, for a shell of any age"


def test_a_shell_reads_the_very_words() -> None:
    """Many words in one call of the shell; `sh` reads all that hold nothing to be hidden, bash the others too."""
    from random import Random

    random = Random(0)
    words = ["".join(random.choices(PIECES, k=random.randrange(1, 8))) for _ in range(600)] + ["\\\n", "it's\\", ""]
    words = [word for word in words if not any("\ud800" <= letter < "\udc80" for letter in word)]
    for shell, kept in (("sh", [word for word in words if visible(word) == word]), ("bash", words)):
        done = subprocess.run([shell, "-c", f"printf '%s\\0' {command_line(kept)}"], capture_output=True, check=True)
        assert [part.decode(errors="surrogateescape") for part in done.stdout.split(b"\0")[:-1]] == kept
    assert len(quote("plain")) == 5
