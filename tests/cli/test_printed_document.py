"""Standard output of a command that prints a document belongs to it alone, whatever the user's code prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor, nn

from accel import __main__
from accel.cli.exit_codes import exit_code
from tests.support.drill_length import LONG
from tests.support.points_task import Points

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("forked_commands")]
WORDS = (f"task._target_={__name__}.Chatty", "device=cpu", "batch_size=16", "~plugins.progress")


class Loud(nn.Linear):
    def forward(self, points: Tensor) -> Tensor:
        print("the model prints")
        return super().forward(points)


class Chatty(Points):
    """Its methods and its model print."""

    def model(self) -> nn.Module:
        print("the task prints")
        return Loud(2, 2)

    def sample_of(self, path: str) -> Tensor:
        print("the reader prints")
        return super().sample_of(path)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("chatty") / "run"
    assert command("train", *WORDS, "epochs=1", f"out={path}") == 0
    (path.parent / "a.txt").write_text("1 2")
    return path


def command(*words: object) -> int:
    return exit_code(lambda: __main__.main([str(word) for word in words]))


@pytest.mark.parametrize(
    "words",
    [
        ("evaluate", "RUN", "--json"),
        ("evaluate", "RUN", "RUN", "--json"),
        ("export", "RUN", "target=torchscript", "seconds=0", "--json"),
        ("predict", "RUN", "RUN/../a.txt", "format=jsonl"),
        ("doctor", "--json", "--seconds=0.1", *WORDS),
        ("advise", "--json", "--seconds=0.1", *WORDS),
        *[("ablate", "--json", "--seconds=0.01", "--seeds=1", "--updates=1", "+plugins=[ema]", *WORDS)] * LONG,
    ],
    ids=lambda words: "-".join(word for word in words[:3] if "/" not in word and "=" not in word),
)
def test_it_is_the_document_alone(words: tuple[str, ...], run: Path, capsys: Any) -> None:
    capsys.readouterr()
    assert command(*(word.replace("RUN", str(run)) for word in words)) == 0
    printed = capsys.readouterr()
    assert isinstance(json.loads(printed.out), dict)
    assert "the model prints" in printed.err
