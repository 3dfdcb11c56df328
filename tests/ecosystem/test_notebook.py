"""The notebook among the examples, executed by a kernel: what its cells show, and that no traceback or escape code is among it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

nbclient = pytest.importorskip("nbclient", reason="needs the extra ecosystem")
nbformat = pytest.importorskip("nbformat", reason="needs the extra ecosystem")
pytest.importorskip("ipykernel", reason="needs the extra ecosystem")
pytest.importorskip("sklearn", reason="needs the extra demo")

NOTEBOOK = Path(__file__).parents[2] / "examples/notebook.ipynb"
STOPPED = """
import os, signal, threading
import accel
from accel.plugins.metrics import Metrics

class Strikes(Metrics):
    def after(self, step, loss):
        super().after(step, loss)
        if step == 3:
            os.kill(os.getpid(), signal.SIGINT)

accel.compose(["epochs=2"]).trainer(out="stopped", watch=["progress", Strikes(curves=False, report=False)]).fit()
"""


def executed(cells: list[Any], folder: Path) -> list[Any]:
    """Return the cells of a notebook with what they show."""
    notebook = nbformat.v4.new_notebook(cells=cells)
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(folder)}}).execute()
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(cell: Any, kind: str = "text/html") -> list[str]:
    """Return the pages of a cell."""
    return ["".join(output.data.get(kind, "")) for output in cell.outputs if "data" in output]


@pytest.mark.slow
def test_the_example_shows_what_its_readers_expect(tmp_path: Path) -> None:
    given = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in given.cells), "what it shows is made anew"
    stopped = nbformat.v4.new_code_cell(STOPPED, metadata={"tags": ["raises-exception"]})
    mistaken = next(number for number, cell in enumerate(given.cells) if "raises-exception" in cell.metadata.get("tags", []))
    given.cells.insert(mistaken + 1, nbformat.v4.new_code_cell("import traceback; traceback.print_last()"))
    cells = executed([*given.cells, stopped], tmp_path)
    config, fit, result, curves, own, mistake, trace, diagnosis, ablation, interrupted = cells
    (table,) = shown(config)
    assert "<td" in table
    assert "onecycle" in table
    page, line = shown(fit)
    assert len(re.findall(r"epoch \d/5 ", page)) == 5
    assert "test accuracy" in page
    assert line == "", "the line that was renewed is gone"
    (summary,) = shown(result)
    assert "where the time went" in summary
    assert "<svg" in shown(curves, "image/svg+xml")[0]
    assert "accuracy" in shown(own, "text/plain")[-1]
    (error,) = mistake.outputs
    assert error.traceback == ["ConfigError: no plugin is called 'onecycel'; did you mean 'onecycle'?"]
    assert "accel/cli/compose" in trace.outputs[0].text, "all of it is there for who asks"
    assert "this machine" in shown(diagnosis)[0]
    assert "verdict" in shown(ablation)[0]
    assert "stopped by SIGINT after update 3; go on with resume='stopped'" in shown(interrupted, "text/plain")[0]
    assert len(interrupted.outputs[-1].get("traceback", "")) <= 3
    assert not [output for cell in cells for output in cell.outputs if "\x1b" in str(output.get("data", output.get("text", "")))]
