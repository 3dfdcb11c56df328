"""The pages of the documentation and the blocks between their fences."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "CONTRIBUTING.md", *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(
    r"(?:^<!-- (?P<note>[^\n]*) -->\n)?^```(?P<language>[\w+]*)(?P<attributes>[^\n]*)\n(?P<text>.*?)^```$", re.M | re.S
)


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    page: str
    """The path of its page, relative to the root."""
    line: int
    """The line of its opening fence, from 1."""
    language: str
    """The word behind the fence; empty for commands."""
    note: str
    """The text of the comment in the line above: `not run: REASON` or `needs: PACKAGE`; else empty."""
    text: str

    @property
    def commands(self) -> list[str]:
        """The lines that are commands, each on one line."""
        joined = self.text.replace("\\\n", " ")
        return [line for line in joined.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def read(page: str) -> str:
    """Return the text of a page."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks_of(page: str) -> list[Block]:
    """Return the fenced blocks of a page, in their order."""
    text = read(page)
    return [
        Block(page, text.count("\n", 0, match.start("language")) + 1, match["language"], match["note"] or "", match["text"])
        for match in FENCE.finditer(text)
    ]


def where(block: Block) -> str:
    """Return the page and line of a block, for the name of a test."""
    return f"{block.page}:{block.line}"


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def commands(start: str) -> list[str]:
    """Return the commands of all pages that begin so and are run, each once, in the order of the pages."""
    lines = (line for block in BLOCKS if not block.language and not block.note for line in block.commands)
    return list({tuple(shlex.split(line, comments=True)): line for line in lines if line.startswith(start)}.values())


TRAINS = [line for line in commands("python -m accel.train") if "hydra/launcher=" not in line]
SUBMITS = [line for line in commands("python -m accel.train") if "hydra/launcher=" in line]
"""Commands that hand jobs to Slurm or to submitit."""
PACKS = commands("python -m accel pack")
MEASURES = commands("python -m accel doctor")
ADVISES = commands("python -m accel advise")
EXPORTS = commands("python -m accel export")
ABOUT_RUNS = commands("python -m accel evaluate") + commands("python -m accel predict") + commands("python -m accel report")
"""Commands about a run that is there."""
