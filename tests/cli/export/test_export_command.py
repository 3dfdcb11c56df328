"""`python -m accel export`: from a run directory alone to files that are proven, with sentences and exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
import pytest
import torch

import accel
from accel import __main__
from accel.cli.exit_codes import exit_code
from accel.engine.loading.load import load_task
from accel.export.all_targets import TARGETS, target_class
from accel.export.consumer import PROGRAM
from accel.report.plots.export_plot import export_panels
from accel.tasks.normalise import normalise
from tests.support.exported_runs import keep_operators, skip_missing, time_briefly, train_pictures

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("engines_are_forks")]
pytest.importorskip("PIL", reason="the pictures need the extra images")


def command(*words: str | Path) -> int:
    return exit_code(lambda: __main__.main(list(map(str, words))))


@pytest.fixture
def engines_are_forks(forked_commands: None, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_operators()
    time_briefly(monkeypatch)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_pictures(tmp_path_factory.mktemp("cli"), "+plugins=[fold_bn,amp,adamw]")


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a command that is refused, and returns the sentence."""

    def sentence(*words: str | Path) -> str:
        capsys.readouterr()
        assert command("export", *words) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        (line,) = [line for line in printed.err.splitlines() if not line.startswith("exporting: ")]
        return line.removeprefix("accel: error: ")

    return sentence


@pytest.mark.draws
def test_all_targets_are_in_one_table_and_in_the_report(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("export", run, "target=all", "seconds=0.05", "compiled=false") == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert printed.err.splitlines()[0] == "exporting: the torch model, evaluated"
    for name in TARGETS:
        row, *times = [line for line in lines if line.startswith(f"{name} ")]
        assert len(times) <= 2, "a sample and a batch"
        missing = target_class(name).missing() or target_class(name).cannot_run()
        assert ("not run" in row) == bool(missing), "what is not installed has not passed"
        assert (f"{name}: not run: {missing}" in lines) == bool(missing)
        assert bool(missing) or " holds " in row
    assert any(line.startswith("accuracy of the files loaded anew, on 20 samples of test; torch has ") for line in lines)
    document = json.loads((run / "export.json").read_text())
    assert [one["target"] for one in document["outcomes"]] == list(TARGETS)
    latency = document["outcomes"][0]["proof"]["latency"]
    assert [(one["threads"], one["batch"]) for one in latency] == [(1, 1), (1, 8)]
    assert all(one["rate"] == pytest.approx(1000 * one["batch"] / one["export"]["ms"]) for one in latency)
    assert all(one["compiled"] is None and one["eager"]["low"] <= one["eager"]["ratio"] <= one["eager"]["high"] for one in latency)
    drawn = (run / "export.svg").read_text()
    assert "prefers-color-scheme:dark" in drawn
    assert "#00002" not in drawn, "every colour is one of the page"
    assert drawn.count(">torchscript<") == 3, "it is timed twice, and has a size"
    page = (run / "report.html").read_text()
    assert "<h2" in page
    assert "Exports" in page
    assert all(f"<td>{name}</td>" in page for name in TARGETS)


def test_an_export_stands_for_the_run_in_evaluate_and_predict(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    skip_missing("onnx")
    assert command("export", run, "seconds=0", "--json") == 0
    (outcome,) = json.loads(capsys.readouterr().out)["outcomes"]
    folder = run / "export/onnx"
    assert command("evaluate", folder, f"out={run.parent / 'metrics.json'}") == 0
    assert f"{folder}" in capsys.readouterr().out
    metrics = json.loads((run.parent / "metrics.json").read_text())["metrics"]
    assert metrics == pytest.approx(outcome["proof"]["export_metrics"], rel=1e-6)
    words = [run.parent / "data/test", "format=jsonl", "top=2"]
    assert command("predict", folder, *words) == 0
    exported = list(map(json.loads, capsys.readouterr().out.splitlines()))
    assert command("predict", run, *words) == 0
    own = list(map(json.loads, capsys.readouterr().out.splitlines()))
    assert len(own) == 20
    for one, two in zip(own, exported, strict=True):
        assert [one[name] for name in ("file", "class", "class_2")] == [two[name] for name in ("file", "class", "class_2")]
        assert one["probability"] == pytest.approx(two["probability"], rel=1e-4)
    assert command("predict", folder, *words, "device=cpu") == 2
    assert "device has no effect" in capsys.readouterr().err
    for words in (["evaluate", folder], ["evaluate", run, folder], ["predict", folder, run.parent / "data/test"]):
        assert command(*words, f"python={sys.executable}") == 0
        capsys.readouterr()
        assert command(*words, "python=nowhere/python") == 2
        assert "python=nowhere/python: it cannot be started" in capsys.readouterr().err
    for words in (["evaluate", run], ["evaluate", run, run], ["predict", run, run.parent / "data/test"]):
        assert command(*words, f"python={sys.executable}") == 2
        assert "has no effect: it is the interpreter of an export's engine, and no export is named" in capsys.readouterr().err
    assert command("evaluate", folder, "weights=last") == 2
    assert "weights=last has no effect" in capsys.readouterr().err


def test_a_file_that_was_tampered_with_is_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    skip_missing("onnx")
    onnx = pytest.importorskip("onnx")
    assert command("export", run, "seconds=0") == 0
    folder = run / "export/onnx"
    assert command("export", run, "--check", folder, "seconds=0") == 0
    assert accel.export(run, "onnx", seconds=0).hold, "in Python as by the command, with the data of the task"
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps(card | {"classes": card["classes"][::-1]}))
    assert command("export", run, "--check", folder, "seconds=0") == 1
    assert "the classes of card.json (dog, cat) are not those of the task, in their order" in capsys.readouterr().out
    renamed = [card["outputs"][0] | {"name": "boxes"}]
    (folder / "card.json").write_text(json.dumps(card | {"outputs": renamed}))
    assert command("export", run, "--check", folder, "seconds=0") == 1
    sentence = f"the inputs and outputs of card.json ({card['inputs'][0]['name']}, boxes) are not named as the model's"
    assert sentence in " ".join(capsys.readouterr().out.split())
    (folder / "card.json").write_text(json.dumps(card))
    model = onnx.load(folder / "model.onnx")
    weights = max(model.graph.initializer, key=lambda one: len(one.raw_data))
    weights.CopyFrom(onnx.numpy_helper.from_array(1.5 * onnx.numpy_helper.to_array(weights), weights.name))
    onnx.save(model, folder / "model.onnx")
    capsys.readouterr()
    assert command("export", run, "--check", folder, "seconds=0") == 1
    printed = capsys.readouterr().out
    assert "model.onnx is not the file of card.json (another sha256)" in printed
    assert "the largest difference is 0." in printed
    for words in (["evaluate", folder], ["predict", folder, run.parent / "data/test"]):
        assert command(*words) == 2
        assert "model.onnx is not the file of its card (another sha256); export the run again" in capsys.readouterr().err


def test_a_tolerance_that_is_missed_is_exit_code_1_and_nothing_is_written(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    skip_missing("ort")
    rmtree(run / "export/ort", ignore_errors=True)  # of another test of this run
    left = run / "export/.ort.new"
    left.mkdir(parents=True)  # of a process that was killed
    assert command("export", run, "target=ort", "seconds=0", "tolerance=1e-12") == 1
    assert "ort: refused: the largest difference is " in capsys.readouterr().out
    assert not left.exists()
    assert not (run / "export/ort").exists()
    assert command("export", run, "target=ort", "seconds=0") == 0
    card = (run / "export/ort/card.json").read_bytes()
    assert command("export", run, "target=ort", "seconds=0", "tolerance=1e-12") == 1
    assert (run / "export/ort/card.json").read_bytes() == card, "an earlier one stays"


def test_the_consumer_needs_neither_accel_nor_torch(run: Path, tmp_path: Path) -> None:
    skip_missing("onnx")
    assert 10 < len(PROGRAM.splitlines()) < 40
    data = load_task(run)
    files = sorted((run.parent / "data/test").rglob("*.jpg"))
    pictures = torch.stack([data.sample_of(str(file)) for file in files])
    np.save(tmp_path / "samples.npy", pictures.numpy())
    with torch.inference_mode():
        expected = accel.load(run)(normalise(pictures)).softmax(1)
    for words in ([], ["preprocess=true"]):
        assert command("export", run, "seconds=0", *words) == 0
        program = (
            "import runpy, sys\nsys.modules |= {'torch': None, 'accel': None}\n"
            f"sys.argv = ['consumer.py', {str(tmp_path / 'samples.npy')!r}]\n"
            f"runpy.run_path({str(run / 'export/onnx/consumer.py')!r})"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        rows = [line.split() for line in done.stdout.splitlines()]
        assert [row[0] for row in rows] == [("cat", "dog")[int(place)] for place in expected.argmax(1)]
        assert [float(row[1]) for row in rows] == pytest.approx(expected.max(1).values.tolist(), abs=1e-5)


def test_what_was_mistyped_is_a_sentence(run: Path, refused: Any, tmp_path: Path) -> None:
    assert refused(run, "target=onx").startswith("target=onx: there is no such target; did you mean 'onnx'?")
    assert refused(run, "targt=pt2") == "targt=pt2: targt is no setting of export; did you mean 'target'?"
    nowhere = "python=nowhere/python: it cannot be started (there is no such program); name an interpreter of Python"
    assert refused(run, "target=all", "python=nowhere/python") == nowhere
    assert "it cannot be started (it may not be executed)" in refused(run, f"python={run / 'summary.json'}")
    skip_missing("onnx")
    for opset in (7, 99):
        assert refused(run, f"opset={opset}", "seconds=0").startswith(f"opset={opset}: torch cannot write this model in these")
    assert "knows those up to " in refused(run, "opset=99", "seconds=0")
    heeded = "heeds it; leave it out"
    assert refused(run, "target=[pt2,ncnn]", "opset=18").startswith("opset=18 has no effect: only target=onnx or ort or ")
    assert refused(run, "target=pt2", "fusion=false") == f"fusion=false has no effect: only target=tvm {heeded}"
    with pytest.raises(accel.ConfigError, match=r"fusion=true has no effect: only target=tvm"):
        accel.export(run, fusion=True)
    for word in ("opset=18", "fusion=true", "preprocess=true"):
        assert refused(run, "--check", run, word).endswith(f"has no effect: --check {run} is of files that are made; leave it out")
    assert refused(run, "dynamic=batches").startswith("dynamic must be")
    assert refused(run, "preprocess=yes").startswith("preprocess must be")
    for threads in ("0", "[1,two]", "[]", "1.5"):
        assert refused(run, f"threads={threads}").startswith("threads must be a whole number above 0, or several such as [1,2]")
    assert refused(run, "dynamic=length").startswith(
        "dynamic=length is for texts and sequences, and the model is given samples of 3 x"
    )
    for word in ("compiled=true", "compiled=false", "threads=[1,2]"):
        sentence = refused(run, word, "seconds=0")
        assert sentence.startswith(word.split("=")[0])
        assert "seconds=0" in sentence
    assert refused(run, "target=pt2", "epochs=2").startswith("epochs=2 has no effect on an export")
    assert refused(run, "target=pt2", "device=cpu").startswith("device=cpu has no effect on an export")
    assert refused(run, "target=pt2", "--check", run).startswith("target=pt2 has no effect: --check")
    assert refused(run, "--check", tmp_path).startswith(f"--check {tmp_path} is no export")
    assert refused(tmp_path).startswith(f"{tmp_path} has no config.yaml")
    assert refused(run / "nowhere").startswith(f"{run / 'nowhere'} does not exist")
    assert not list(tmp_path.iterdir())


def test_without_words_it_shows_its_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("export") == 2
    assert "python -m accel export RUN" in capsys.readouterr().err
    assert command("export", "--help") == 0
    assert "target=onnx" in capsys.readouterr().out


def test_a_target_that_is_not_installed_says_what_to_type(run: Path, refused: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accel.export.target.importable", lambda package: False)
    others = [name for name in TARGETS if target_class(name).extra]
    assert len(others) >= 5
    for name in others:
        sentence = refused(run, f"target={name}")
        assert sentence.startswith(f"target={name} needs the package ")
        assert f"pip install 'accel-train[{target_class(name).extra}]'" in sentence


def test_digits_have_no_normalisation_to_put_into_the_graph(refused: Any, tmp_path: Path) -> None:
    from accel.cli.train_command import main

    run = tmp_path / "digits"
    assert main(["updates=2", "batch_size=4", "device=cpu", "~plugins.progress", "task.width=4", f"out={run}"]) == 0
    assert refused(run, "target=pt2", "preprocess=true").startswith("preprocess=true: Digits has no normalisation")
    assert command("export", run, "target=torchscript", "seconds=0.01", "threads=[1,2]", "compiled=false") == 0
    (outcome,) = json.loads((run / "export.json").read_text())["outcomes"]
    assert [(one["threads"], one["batch"]) for one in outcome["proof"]["latency"]] == [(1, 1), (1, 4), (2, 1), (2, 4)]


def test_settings_of_8_bits_are_refused_where_nothing_heeds_them(run: Path, refused: Any) -> None:
    assert refused(run, "calibrate=entropy") == (
        "calibrate=entropy has no effect: only quantize=static heeds it, in an export; leave it out"
    )
    assert refused(run, "samples=9", "quantize=weights").startswith("samples=9 has no effect: only quantize=static")
    assert refused(run, "max_drop=1").startswith("max_drop=1.0 has no effect: only precision=bfloat16 or ")
    assert refused(run, "quantize=static", "precision=float16").startswith(
        "quantize=static and precision=float16 exclude each other"
    )
    assert refused(run, "quantize=statik").startswith("quantize must be")
    assert refused(run, "quantize=static", "--check", run).startswith("quantize=static has no effect: --check")
    assert refused(run, "target=torchscript", "quantize=dynamic") == (
        "quantize=dynamic: target=torchscript cannot do that; it can precision=float32 or float16 or bfloat16, and no 8 bits"
    )


def test_an_export_of_8_bits_has_a_folder_of_its_own_and_tells_of_its_layers(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    skip_missing("onnx")
    words = ["quantize=static", "samples=8", "seconds=0", "max_drop=100", "preprocess=true"]
    assert command("export", run, *words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split()[:2] == ["onnx-static", "holds"] for line in lines)
    assert any(line.startswith("layer ") and "error alone" in line for line in lines)
    assert any("layers in 8 bits, ranges by minmax of 8 training samples" in line for line in lines)
    assert lines[-1] == f"{run / 'export/onnx-static'}"
    outcomes = json.loads((run / "export.json").read_text())["outcomes"]
    assert export_panels(outcomes)[-1].targets.count("onnx-static") == 1, "the picture has it by its own name"
    (outcome,) = [one for one in outcomes if one["variant"] == "static"]
    assert outcome["quantisation"]["samples"] == 8
    assert outcome["proof"]["drop"]["metric"] == "accuracy"
    assert command("evaluate", run / "export/onnx-static") == 0
    np.save(tmp_path / "samples.npy", np.zeros((3, 16, 16, 3), np.uint8))
    program = [sys.executable, run / "export/onnx-static/consumer.py", tmp_path / "samples.npy"]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert len(done.stdout.splitlines()) == 3, done.stderr
