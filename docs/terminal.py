"""Draws docs/assets/run.svg, the picture of a real run: python docs/terminal.py.

The command runs in a pseudo-terminal in a directory of its own. Its output is drawn as a terminal shows it in the end.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parents[1]
OUT = ROOT / "docs/assets/run.svg"
COMMAND = ["python", "-m", "accel.train", "+plugins=[amp,adamw,onecycle,ema]", "epochs=5"]
COLUMNS, ROWS = 110, 60


def record(command: list[str]) -> str:
    """Return everything that a command writes to a terminal."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # so that the run calls its Python by its short name
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TERM": "xterm-256color"}
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(command, stdin=follower, stdout=follower, stderr=follower, env=env, cwd=folder)
        os.close(follower)
        pieces = []
        try:
            while piece := os.read(leader, 65536):
                pieces.append(piece)
        except OSError:  # Linux says so when the last writer has closed the terminal
            pass
        code = process.wait()
    text = b"".join(pieces).decode()
    assert code == 0, text
    return text


def screen(written: str) -> str:
    """Return the lines that stand on the screen in the end, with their colours; the cursor moves up by whole lines alone."""
    lines, row = [""], 0
    for piece in re.split(r"(\r\n|\n|\r|\x1b\[\d*A|\x1b\[2K|\x1b\[\?25[lh])", written):
        if piece in ("\n", "\r\n"):
            row += 1
            lines += [""] * (row == len(lines))
        elif re.fullmatch(r"\x1b\[\d*A", piece):
            row -= int(piece[2:-1] or 1)
        elif piece == "\x1b[2K":
            lines[row] = ""
        elif piece and piece != "\r" and not piece.startswith("\x1b[?25"):
            lines[row] += piece
    return "\n".join(lines).rstrip()


def draw(command: list[str], text: str) -> str:
    """Return the picture, without the web font that rich would have the reader load."""
    console = Console(record=True, width=COLUMNS, file=open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    words = " ".join(f"'{word}'" if "[" in word else word for word in command)
    console.print(Text.assemble(("$ ", "bold green"), (words, "bold")))
    console.print(Text.from_ansi(text))
    form = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    svg = console.export_svg(
        title="accel", code_format=form.replace("Fira Code, monospace", "ui-monospace, Menlo, Consolas, monospace")
    )
    return re.sub(r"[ \t]+$", "", svg, flags=re.MULTILINE)


if __name__ == "__main__":
    OUT.write_text(draw(COMMAND, screen(record(COMMAND))) + "\n", encoding="utf-8")
    print(f"{OUT.relative_to(ROOT)} shows a run of this machine")
