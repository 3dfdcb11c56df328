"""The page of a run, and of several: made of what is there, safe whatever stands in the files, and never in the way of a run."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import accel
from accel.compare import LossDifference, SpeedRatio
from accel.diagnose.ablation import Ablation, Contribution
from accel.errors import AccelWarning, ConfigError
from accel.plugins.metrics import Metrics
from accel.report.html import charts, write_report
from accel.report.html.charts import thinned
from accel.report.html.markup import Markup, element, markup
from accel.report.record.run_files import read_run
from accel.report.record.standings import seconds_to
from accel.testing import fit_toy
from accel.trainer import Trainer
from tests.support.report_pages import read

pytestmark = pytest.mark.draws

ODD = "<script>alert('x')</script>&\"'\x1b[2J\u202e\ud800$\\nosuch$"
"""What a name may be, at its worst."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that is done, with odd names wherever a user may put one."""
    out = tmp_path_factory.mktemp("run") / "<b>odd & long"
    data = [(torch.ones(4, 2) * number, torch.zeros(4, 1)) for number in range(12)]

    def loss(model: torch.nn.Module, batch: Any) -> Any:
        mean = (model(batch[0]) - batch[1]).square().mean()
        return mean, {ODD: mean.detach()}

    def metrics(model: torch.nn.Module, batch: Any) -> dict[str, torch.Tensor]:
        return {"loss": loss(model, batch)[0], f"accuracy {ODD}": torch.tensor(0.5)}

    Trainer(torch.nn.Linear(2, 1), data, data[:2], loss, metrics=metrics, watch=("metrics",), out=out, epochs=3).fit()
    return out


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "copy"))


def test_a_run_writes_its_page(run: Path) -> None:
    page = read(run / "report.html")
    for words in (
        "<b>odd & long",
        "loss, mean per item",
        "waiting for data",
        "memory, MB",
        "Where the time went",
        "processor",
        "36",
    ):
        assert words in page.text, words
    assert page.tags.count("svg") >= 7
    assert "What is not there" not in page.text
    listed = json.loads((run / "summary.json").read_text())["files"]
    assert {"report.html", "times.jsonl"} <= set(listed)


def test_names_of_users_are_text(run: Path) -> None:
    assert "<script>alert('x')</script>&\"'\\x1b[2J\\u202e" in read(run / "report.html").text
    assert markup(ODD).count("&lt;script&gt;") == 1
    assert element("p", Markup("<b>x</b>"), ODD, title=ODD).startswith('<p title="&lt;script&gt;alert(&#x27;x&#x27;)')


def test_the_command_and_python_make_the_same_page(run: Path, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from accel import __main__

    assert __main__.main(["report", str(copy)]) == 0
    assert capsys.readouterr().out == f"{copy}/report.html\n"
    made = (copy / "report.html").read_text()
    assert accel.report(copy, out=copy / "page.html").read_text().replace("page.html, ", "") == made
    assert read(run / "report.html").text.partition("Curves")[2] == read(copy / "report.html").text.partition("Curves")[2]


DAMAGES: dict[str, tuple[str, bytes | None, str]] = {
    "not done": ("summary.json", None, "summary.json is not there: the run was stopped or failed before its end"),
    "going": (".lock", b"process 1 of here", "Files"),
    "gone on": ("summary.json", b'{"schema": 1, "updates": 5}', "summary.json is that of update 5, and is left out"),
    "no plan": ("plan.json", None, "plan.json is not there"),
    "no lines": ("metrics.jsonl", None, "metrics.jsonl is not there, so there are no curves"),
    "old run": ("times.jsonl", None, "times.jsonl is not there, or too short"),
    "torn": ("summary.json", b'{"schema": 1, "met', "summary.json is damaged"),
    "later": ("plan.json", b'{"schema": 99}', "plan.json has schema 99, and this accel knows 1"),
    "no object": ("plan.json", b"[]", "plan.json is none that accel has written"),
    "deep": ("summary.json", b"[" * 100_000, "summary.json is damaged"),
    "other shape": ("summary.json", b'{"schema": 1, "metrics": 3, "shares": [], "pace": "x", "sections": 5}', "could not be shown"),
    "other plan": ("plan.json", b'{"schema": 1, "rows": 7, "facts": "x", "settings": 3}', "Plan could not be shown"),
    "binary": ("metrics.jsonl", b"\xff\x00" * 99 + b"\n", "1 lines of metrics.jsonl are damaged"),
    "times": ("times.jsonl", b'{"update": 1}\n{"update": "x"}\n', "times.jsonl is not there, or too short"),
    "config": ("config.yaml", b"a: \xff</pre><script>", "config.yaml, in full"),
    "doctor": ("doctor.json", b'{"schema": 1, "split": 3}', "Diagnosis could not be shown"),
    "ablate": ("ablate.json", b'{"schema": 2}', "ablate.json has schema 2"),
    "advise": ("advise.json", b'{"schema": 1}', "The model on this machine could not be shown"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_the_page_is_made_of_what_is_there_and_says_what_is_not(name: str, copy: Path) -> None:
    file, content, words = DAMAGES[name]
    (copy / file).unlink(missing_ok=True)
    if content is not None:
        (copy / file).write_bytes(content)
    page = read(accel.report(copy))
    assert words in page.text
    assert "Files" in page.text


def test_a_page_goes_where_nothing_is_lost(copy: Path) -> None:
    lines = (copy / "metrics.jsonl").read_bytes()
    with pytest.raises(ConfigError, match=r"metrics.jsonl is a file of the run, which would be lost; name another"):
        accel.report(copy, out=copy / "metrics.jsonl")
    assert (copy / "metrics.jsonl").read_bytes() == lines
    with pytest.raises(ConfigError, match=r"names no file; name one, such as "):
        accel.report(copy, out=copy)
    assert accel.report(copy, out=copy / "report.html").exists()


def test_runs_are_compared_whatever_is_damaged(run: Path, tmp_path: Path) -> None:
    runs = []
    for name, (file, content, _) in DAMAGES.items():
        runs.append(Path(shutil.copytree(run, tmp_path / name, ignore=shutil.ignore_patterns("checkpoints", file))))
        if content is not None:
            (runs[-1] / file).write_bytes(content)
    page = read(accel.report(*runs, out=tmp_path / "page.html"))
    assert f"{len(DAMAGES)} runs compared" in page.text
    assert "other plan: plan.json or task.json is damaged" in page.text


def test_damaged_lines_are_left_out_and_counted(copy: Path) -> None:
    lines = (copy / "metrics.jsonl").read_bytes().splitlines()
    lines[3], lines[7] = b'{"update": 4, "lr": 0.1, "lo', b'{"update": "x", "lr": 1}'
    (copy / "metrics.jsonl").write_bytes(b"\n".join([*lines, b'{"upda']))
    curves = read_run(copy).curves
    assert curves is not None
    assert curves.damaged == 3
    assert 4 not in curves.update
    assert len(curves.update) == 34


def test_what_is_no_run_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has neither plan\.json nor metrics\.jsonl nor summary\.json"):
        accel.report(tmp_path)
    (tmp_path / "here").mkdir()
    with pytest.raises(ConfigError, match=r"is no run directory; did you mean 'here'\?"):
        accel.report(tmp_path / "herre")
    with pytest.raises(ConfigError, match="name one"):
        accel.report()


def test_a_page_that_cannot_be_written_is_refused_in_a_sentence(copy: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be written .* name another file with out=FILE"):
        accel.report(copy, out=copy / "missing" / "page.html")


def test_without_matplotlib_there_are_tables_and_a_word_on_it(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charts, "PACKAGE", "no_such_package")
    page = read(accel.report(copy))
    assert "svg" not in page.tags
    assert charts.MISSING in page.text
    assert "Where the time went" in page.text


def test_a_failure_to_draw_ends_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(run: Any) -> str:
        raise RuntimeError("no ink")

    monkeypatch.setattr(write_report, "run_page", fail)
    with pytest.warns(AccelWarning, match="report.html could not be written: RuntimeError: no ink; the run is done"):
        fit_toy([Metrics()], out=tmp_path / "run")
    assert not (tmp_path / "run/report.html").exists()
    assert json.loads((tmp_path / "run/summary.json").read_text())["unsaved"] == {}


def test_a_run_without_a_report(tmp_path: Path) -> None:
    fit_toy([Metrics(report=False)], out=tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_a_resumed_run_goes_on_with_the_seconds(tmp_path: Path) -> None:
    fit_toy([Metrics(report=False)], out=tmp_path, checkpoint_every=2, stop=5)
    rows = [json.loads(line) for line in (tmp_path / "times.jsonl").read_text().splitlines()]
    before = rows[-1] | {"update": 4, "seconds": 1000.0, "training": 900.0, "waited": 300.0}
    later = before | {"update": 9, "seconds": 5000.0}
    (tmp_path / "times.jsonl").write_text("".join(json.dumps(row) + "\n" for row in (rows[0], before, later)) + '{"upd')
    fit_toy([Metrics(report=False)], resume=tmp_path, checkpoint_every=2)
    rows = [json.loads(line) for line in (tmp_path / "times.jsonl").read_text().splitlines()]
    assert [row["update"] for row in rows] == sorted({row["update"] for row in rows})
    assert [row["update"] for row in rows[:2]] == [0, 4]
    assert rows[-1]["update"] == 12
    assert 1000 < rows[-1]["seconds"] < 2000
    assert 900 < rows[-1]["training"] < rows[-1]["seconds"]


def made(folder: Path, seed: int = 0, speed: float = 1.0, best: float = 0.9, every: int = 1, **settings: Any) -> Path:
    """Make a run of a hundred updates whose accuracy rises to `best`, with ten updates a second at speed 1."""
    folder.mkdir(parents=True)
    updates = range(1, 101)
    lines: list[dict[str, Any]] = []
    for update in updates:
        lines.append({"update": update, "epoch": 1, "loss": 1 / update, "lr": 0.1, "samples": 32 * update})
        if update % (10 * every) == 0:
            lines.append({"update": update, "epoch": 1, "val_accuracy": best * update / 100})
    times = [
        {"update": update, "samples": 32 * update, "seconds": update / 10 / speed, "training": update / 10 / speed, "waited": 0.0}
        for update in (0, *updates)
    ]
    rate = 320 * speed
    summary = {
        "schema": 1, "metrics": {"accuracy": best}, "split": "val", "seconds": 10 / speed, "shares": {"forward": 100.0},
        "loss": 0.01, "pace": {"rate": rate, "low": 0.97 * rate, "high": 1.03 * rate, "busy": 0.0}, "updates": 100,
    }  # fmt: skip
    plan = {"schema": 1, "rows": [], "facts": {}, "warnings": [], "settings": {"seed": seed, **settings}}
    for name, rows in (("metrics.jsonl", lines), ("times.jsonl", times)):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, content in (("summary.json", summary), ("plan.json", plan)):
        (folder / name).write_text(json.dumps(content))
    return folder


def test_two_runs_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    slow, fast = made(tmp_path / "runs/a", batch_size=32), made(tmp_path / "runs/b", speed=2.0, best=0.8, batch_size=64)
    page = read(accel.report(slow, fast))
    assert (tmp_path / "comparison.html").is_file()
    for words in (
        "val accuracy: a is ahead with 0.9000 against 0.8000 of b, 0.1000 more; of a and b there is one seed",
        "val accuracy of 0.8000, which all reach: b after 5.0 s, a after 9.0 s (1.80 times as long)",
        "samples per second: b is 2.00x as fast as a",
    ):
        assert words in page.text, words
    assert "batch_size 32 64" in page.text
    assert "seed" not in page.text.partition("What they differ in")[2]
    assert page.tags.count("svg") == 4, "loss and accuracy, over updates and over seconds"


@pytest.mark.parametrize(
    ("best", "words"), [(0.7, "a0 is ahead with 0.8950 against 0.6995 of b0"), (0.895, "overlap, so it may be chance")]
)
def test_seeds_are_one_row_and_tell_chance_from_more(best: float, words: str, tmp_path: Path) -> None:
    runs = [made(tmp_path / f"a{seed}", seed=seed, best=0.89 + seed / 100, epochs=1) for seed in (0, 1)]
    runs += [made(tmp_path / f"b{seed}", seed=seed, best=best - seed / 1000, epochs=2) for seed in (0, 1)]
    page = read(accel.report(*runs, out=tmp_path / "x.html"))
    assert "a0 and 1 more of other seeds" in page.text
    assert words in page.text
    assert "there is one seed" not in page.text


def test_runs_that_are_alike_in_all_that_is_known_stay_two(tmp_path: Path) -> None:
    page = read(accel.report(made(tmp_path / "a"), made(tmp_path / "b", best=0.5), out=tmp_path / "x.html"))
    assert "a is ahead" in page.text
    assert "nothing that their plans know" in page.text


def test_the_directory_of_a_multirun_stands_for_its_jobs(tmp_path: Path) -> None:
    for number in (0, 2, 10):
        made(tmp_path / "many" / str(number), epochs=number)
    (tmp_path / "many/11").mkdir()
    page = read(accel.report(tmp_path / "many", out=tmp_path / "x.html"))
    assert "epochs 0 2 10" in page.text


def test_the_time_to_a_value_is_that_of_the_first_evaluation_that_has_it(tmp_path: Path) -> None:
    from accel.report.comparison import JobGroup
    from accel.report.record.standings import Contender

    runs = [read_run(made(tmp_path / name, speed=speed)) for name, speed in (("a", 1.0), ("b", 2.0), ("c", 0.5))]
    contender = Contender("a", runs, JobGroup("a"))
    assert seconds_to(contender, "val_accuracy", 0.45) == pytest.approx(5.0), "the median of 5, 2.5 and 10 seconds"
    assert seconds_to(contender, "val_accuracy", 0.95) is None


def test_a_thinned_line_keeps_its_peaks() -> None:
    x = np.arange(10_001.0)
    y = np.zeros(10_001)
    y[[77, 5000]], y[123], y[200:300] = 9.0, -9.0, np.nan
    short_x, _ = thinned(x, y, 700)
    assert len(short_x) <= 702
    assert {77.0, 123.0, 5000.0} <= set(short_x)
    assert (np.diff(short_x) > 0).all()


def test_the_sections_of_other_commands(copy: Path) -> None:
    verdict = {"sentence": f"data-bound: {ODD}"}
    remedy = {
        "name": "threads",
        "type": "'+plugins=[threads]'",
        "speed_up": {"low": 1.5, "middle": 1.7, "high": 1.9},
        "ceiling": 2.5,
        "memory": -12_000_000,
    }
    states = [{"problem": "the swap is in use", "mend": "batch_size=16"}]
    doctor = {
        "schema": 1,
        "verdict": verdict,
        "split": {"data": 3.0, "compute": 1.0},
        "remedies": [remedy],
        "states": states,
        "seconds": 9,
        "left_out": ["a checkpoint"],
        "unmeasured": [f"no prediction for {ODD}"],
        "together": {"ratio": 1.68, "low": 1.61, "high": 1.72},
        "untried": [{"typed": "batch_size=64", "reason": "it changes the recipe"}],
        "applied": [
            {"overrides": ["+plugins=[threads]"], "is_kept": True, "measured": {"ratio": 1.66, "low": 1.6, "high": 1.7}},
            {"overrides": ["+plugins=[fsdp]"], "is_kept": False, "measured": None, "reason": f"it cannot: {ODD}"},
            {"overrides": ["+plugins=[amp]"], "is_kept": False, "measured": {"ratio": 1.02, "low": 0.9, "high": None}},
        ],
    }
    better = LossDifference(0.41, -0.02, 0.008, 0.02, 4)
    amp = Contribution(("amp",), "speed", SpeedRatio(1.31, 1.28, 1.35, 20), None, None, -12_000_000)
    ema, lamb = Contribution(("ema",), "loss", loss=replace(better, probability=0.4)), Contribution(("lamb",), "loss", loss=better)
    clip = Contribution(("clip",), "speed", SpeedRatio(1.0, 0.99, 1.01, 20))
    ablation = Ablation((amp, ema, lamb, clip), None, ("amp", "ema", "lamb"), command="accel train", updates=30, seeds=4, busy=55.0)
    layer = {
        "path": "body.0", "kind": "Conv2d", "flops": 2e9, "bytes": 1e6, "intensity": 2000.0, "bound": "compute", "share": 0.5,
        "forward_seconds": 0.1, "backward_seconds": 0.2, "roof_seconds": 0.1,
    }  # fmt: skip
    whole = {"seconds": 0.5, "flops": 2e9, "bytes": 1e6, "parameters": 10}
    finding = {"problem": "channels are not in eights", "evidence": "30", "gain": 0.1, "change": "width=32"}
    advice = {
        "schema": 1, "model": "Net", "batch": "32 pictures", "device": "cpu", "trains": True, "pass": whole, "layers": [layer],
        "ceilings": {"products": {"float32": 1e11}, "copies": {"65536": 5e10, "134217728": 1e10}}, "findings": [finding],
    }  # fmt: skip
    (copy / "doctor.json").write_text(json.dumps(doctor))
    (copy / "ablate.json").write_text(json.dumps(ablation.to_dict()))
    (copy / "advise.json").write_text(json.dumps(advice))
    page = read(accel.report(copy))
    assert "could not be shown" not in page.text
    for words in (
        "data 75.0 %",
        "1.70x (1.50 to 1.90)",
        "1.66x (1.60 to 1.70)",
        "together: 1.68x (1.61 to 1.72)",
        "not tried: batch_size=64: it changes the recipe",
        "no time was left for: a checkpoint",
        "no prediction for ",
        "it cannot: ",
        "batch_size=16",
        "keep amp, ema, lamb; leave out clip",
        "ema: kept, for 30 updates tell nothing of what it does to the loss",
        "better: -0.02 of 0.4100, noise 0.008",
        "for ema, lamb after equal time, by which the verdict goes",
        "other processes took 55 % of the cores",
        "accel train",
        "1.31x (1.28 to 1.35)",
    ):
        assert words in page.text, words
    assert page.text.count("-12.0 MB") == 2, "of a remedy, and of a plugin"
    for words in ("Conv2d", "GFLOP/s of each layer", "channels are not in eights", "saves 10.0 % of the time"):
        assert words in page.text, words


def test_a_diagnosis_without_a_remedy_says_what_it_had_time_for(copy: Path) -> None:
    for left_out, words in (([], "nothing that is possible here"), (["x"], "of what there was time to measure, nothing that is")):
        document = {"schema": 1, "verdict": {"sentence": "x"}, "split": {}, "remedies": [], "left_out": left_out, "seconds": 9}
        (copy / "doctor.json").write_text(json.dumps(document))
        page = read(accel.report(copy))
        assert words in page.text
        assert ("of what" in page.text) is bool(left_out)


def test_the_page_needs_no_torch(run: Path) -> None:
    import subprocess

    code = (
        "import sys, accel; accel.report(sys.argv[1], out=sys.argv[2]); sys.exit('torch' in sys.modules or 'yaml' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, run, run.parent / "page.html"], check=True)


@pytest.mark.parametrize("end", [0.001, 0.0005, 0.98123, 9e5, 123456.0, -0.00025])
def test_the_numbers_beside_a_chart_are_whole(end: float) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = charts.Canvas()
    canvas.draw(charts.Chart("x", [charts.Line("", np.arange(2.0), np.array([0.0, end]))]), 0)
    renderer = FigureCanvasAgg(canvas.figure).get_renderer()
    labels = [label for label in canvas.panel.get_yticklabels() if label.get_text()]
    assert labels
    assert min(label.get_window_extent(renderer).x0 for label in labels) >= 0
