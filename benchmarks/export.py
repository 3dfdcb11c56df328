"""Exports of small models to every engine that is installed, each proven on held-out data and timed beside torch.

python benchmarks/export.py ROOT                                       # a table; ROOT/train/<class>/*.jpg, ROOT/test/<class>/*.jpg
python benchmarks/export.py ROOT --runs DIR                            # of runs that are there: DIR of ship.py ROOT --work DIR
python benchmarks/export.py ROOT --out benchmarks/results/DATE-export.json     # and the results beside it
python benchmarks/export.py ROOT --python VENV/bin/python --text FILE  # by an interpreter that has the engines; with a GPT
python benchmarks/export.py ROOT --engines tvm=PYTHON litert=PYTHON    # and of engines in environments of their own
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from shutil import copytree, ignore_patterns
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

ROOT = Path(__file__).parents[1]
LACKING = "needs the package"
"""Words of the reason of an engine that is not installed."""
PACKAGES = ["torch", "accel-train", "onnx", "onnxscript", "onnxruntime", "openvino", "ncnn", "pnnx", "MNN", "timm"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="the folder of the pictures")
    parser.add_argument("--runs", type=Path, help="the folder of a call of ship.py with --work; default: it is called")
    parser.add_argument("--text", type=Path, help="a text to train the GPT on; without it, the GPT is not run")
    parser.add_argument("--models", nargs="+", metavar="MODEL", help="some of them")
    parser.add_argument("--targets", help="in place of the targets of all models: [pt2,onnx]")
    parser.add_argument("--threads", default="[1,2]", help="of a call, in timing")
    parser.add_argument("--seconds", type=float, default=2.0, help="of timing for each export, about; 0 for none")
    parser.add_argument("--eager-only", action="store_true", help="time no torch.compile")
    parser.add_argument("--epochs", type=int, help="of all runs of ship.py; default: each has its own")
    parser.add_argument("--python", help="the interpreter that does all of it; default: this one")
    parser.add_argument("--engines", nargs="+", default=[], metavar="TARGET=FILE", help="interpreters that have one engine each")
    parser.add_argument("--add", type=Path, nargs="*", default=[], help="results of earlier calls, whose models stand beside these")
    parser.add_argument("--out", type=Path, help="write the results to this .json, and the table to the .md beside it")
    args = parser.parse_args()
    paths = [str(ROOT), str(ROOT / "benchmarks"), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    if args.python and Path(args.python).absolute() != Path(sys.executable).absolute():
        sys.exit(subprocess.run([args.python, *sys.argv]).returncode)
    from export_arms import MODELS

    args.models = args.models or list(MODELS)
    if unknown := set(args.models) - set(MODELS):
        parser.error(f"there is no model {unknown.pop()}; there is {', '.join(MODELS)}")
    from export_table import table
    from results import save

    with TemporaryDirectory() as folder:
        result = exported(args, Path(folder))
    save(result, table(result), args.out)
    if failed := [name for name, model in result["models"].items() if "failed" in model]:
        sys.exit(f"failed: {', '.join(failed)}")


def exported(args: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Export all models, and return the results. What is there of ship.py is copied, and stays as it is."""
    import machine
    from export_arms import MODELS, base_of, ship_words
    from export_table import verdicts

    from accel.report.other_load import OtherLoad

    head, load, began = machine.facts(threads=None, packages=PACKAGES), OtherLoad(), perf_counter()
    left_out = {name: reason for name in args.models if (reason := why_not(name, args))}
    names = [name for name in args.models if name not in left_out]
    runs = args.runs
    if runs is None and any(not MODELS[name].train for name in names):
        runs = work / "ship"
        done(ship_words(args.root, runs, [name for name in names if not MODELS[name].train], args.epochs))
    models: dict[str, dict[str, Any]] = {}
    for file in args.add:
        models |= json.loads(file.read_text())["models"]
    for name in args.models:
        models[name] = {"about": MODELS[name].about}
        if name in left_out:
            models[name]["not run"] = left_out[name]
            continue
        run = work / base_of(name)
        try:
            if not run.exists() and MODELS[name].train:
                data = args.text if MODELS[name].data == "task.path" else args.root
                words = [*MODELS[name].train, f"{MODELS[name].data}={data.resolve()}", "device=cpu", f"out={run}"]
                done(["-m", "accel.train", *words])
            elif not run.exists():
                copytree(runs / f"{base_of(name)}-0", run, ignore=ignore_patterns("export*", ".lock"))
            models[name] |= export(name, run, args)
        except (RuntimeError, OSError) as error:
            models[name]["failed"] = str(error)
        print(f"{name}: {perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    head["versions"] |= engine_versions(args.engines)
    return {
        "schema": 1, "benchmark": "export", **head, "repetitions": 1, "seconds": round(perf_counter() - began, 1),
        "others percent": load.percent(), "models": models, "verdicts": verdicts(models),
    }  # fmt: skip


def why_not(name: str, args: argparse.Namespace) -> str:
    """Return why a model is not run, or nothing."""
    from export_arms import MODELS, base_of

    model = MODELS[name]
    if model.data == "task.path" and args.text is None:
        return "no text was named (--text FILE)"
    if args.runs is not None and not model.train and not (args.runs / f"{base_of(name)}-0").is_dir():
        return f"there is no run {base_of(name)}-0 in --runs"
    return model.missing()


def export(name: str, run: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Return the outcomes of the exports of a run, as the command has them."""
    from export_arms import MODELS

    words = [word for word in MODELS[name].export if args.targets is None or not word.startswith("target=")]
    words += [] if args.targets is None else [f"target={args.targets}"]
    words += [f"seconds={args.seconds:g}"]
    if args.seconds:
        words += [f"threads={args.threads}", *(["compiled=false"] if args.eager_only else [])]
    command = shlex.join(["python", "-m", "accel", "export", "RUN", *words])
    outcomes = {outcome["target"]: outcome for outcome in outcomes_of(run, words)}
    for target, python in (engine.split("=", 1) for engine in args.engines):
        if target in outcomes and LACKING in outcomes[target]["reason"]:  # else it cannot do what is asked, wherever it lives
            apart = [word for word in words if not word.startswith("target=")]
            outcomes |= {target: outcomes_of(run, [f"target={target}", *apart, f"python={python}"])[0]}
    return {"command": command, "outcomes": list(outcomes.values())}


def engine_versions(engines: list[str]) -> dict[str, str]:
    """Return the version of the package of each engine that lives in an environment of its own."""
    from export_arms import ENGINE_PACKAGES

    versions = {}
    for target, python in (engine.split("=", 1) for engine in engines):
        code = f"from importlib.metadata import version; print(version({ENGINE_PACKAGES[target]!r}))"
        ended = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
        versions[ENGINE_PACKAGES[target]] = ended.stdout.strip()
    return versions


def outcomes_of(run: Path, words: list[str]) -> list[dict[str, Any]]:
    """Return what `accel export RUN` with these words says of each target."""
    printed = done(["-m", "accel", "export", str(run), *words, "--json"], codes=(0, 1))
    outcomes: list[dict[str, Any]] = json.loads(printed)["outcomes"]
    return outcomes


def done(words: list[str], codes: tuple[int, ...] = (0,)) -> str:
    """Return what a program of this interpreter prints. Raise RuntimeError with its last line if it ends with another code."""
    ended = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    if ended.returncode not in codes:
        print(ended.stderr[-2000:], file=sys.stderr, flush=True)
        raise RuntimeError((ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"])[-1])
    return ended.stdout


if __name__ == "__main__":
    main()
