"""What TraceML, slowai and accel say of the same runs: the examples that TraceML and slowai show, on this machine.

python benchmarks/tracers.py                                            # accel alone
python benchmarks/tracers.py --traceml PYTHON --scripts DIR --slowai PYTHON --out benchmarks/results/DATE-tracers.json

Each run is a process of its own. TraceML runs its own scripts (`--scripts`: a clone of its repository), slowai a plain loop of the
same network and data (`traced/plain_loop.py`), accel a task of them (`traced/task.py`).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import machine
from results import save
from traced.answers import TOOLS, accel_answer, bound_shares, is_right, slowai_answer, traceml_answer
from traced.examples import EXAMPLES, Example

from accel.report.other_load import OtherLoad
from accel.report.result import finite

HERE = Path(__file__).parent
MINUTES = 10
"""How long one tool may take for one example."""
PACKAGES = ["torch", "accel-train"]
PEER_PACKAGES = ["traceml-ai", "slowai"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traceml", type=Path, metavar="PYTHON", help="of an environment that has traceml-ai")
    parser.add_argument("--scripts", type=Path, metavar="DIR", help="a clone of github.com/traceopt-ai/traceml")
    parser.add_argument("--peers-only", action="store_true", help="do not ask accel")
    parser.add_argument("--slowai", type=Path, metavar="PYTHON", help="of an environment that has slowai")
    parser.add_argument("--seconds", type=float, default=40.0, help="of measuring, as accel doctor --seconds")
    names = list(EXAMPLES)
    parser.add_argument("--examples", nargs="*", default=names, choices=names, metavar="NAME", help="some of them")
    parser.add_argument("--out", type=Path, help="write the results to this .json, and the table to the .md beside it")
    parser.add_argument(
        "--add", type=Path, nargs="*", default=[], metavar="RESULT", help="answers that these have are not asked for"
    )
    args = parser.parse_args()
    known = [json.loads(file.read_text()) for file in args.add]
    rows = []
    for name in args.examples:
        example = EXAMPLES[name]
        row = {"example": name, "source": example.source, "injected": example.injected, "cause": example.cause}
        answers = {
            tool: one for file in known for each in file["rows"] if each["example"] == name for tool, one in each["answers"].items()
        }
        rows.append({**row, "answers": answers | ask(name, example, args, set(answers))})
    head = machine.facts(threads=int(os.environ.get("OMP_NUM_THREADS", 0)) or None, packages=PACKAGES)
    for python in {args.traceml, args.slowai} - {None}:
        head["versions"] |= versions(python)
    for file in known:
        head["versions"] = file["versions"] | head["versions"]
    head["command"] = re.sub(r"--(traceml|slowai) \S+", r"--\1 PYTHON", re.sub(r"--scripts \S+", "--scripts DIR", head["command"]))
    head["command"] = re.sub(r" --add( [^-]\S*)+", " --add RESULT ...", head["command"])
    result = {"schema": 1, "benchmark": "tracers", **head, "seconds": args.seconds, "rows": rows}
    save(finite(result), table(finite(result)), args.out)


def ask(name: str, example: Example, args: argparse.Namespace, known: Collection[str]) -> dict[str, Any]:
    """What each tool says of an example, but for those that are known; one whose environment was not given says nothing."""
    tools: dict[str, Callable[[Path], dict[str, Any]]] = {}
    if args.traceml:
        tools["traceml"] = lambda folder: ask_traceml(name, example, args.traceml, args.scripts, folder)
    if args.slowai:
        tools["slowai"] = lambda folder: ask_slowai(name, example, args.slowai, folder)
    if not args.peers_only:
        tools["accel"] = lambda folder: ask_accel(name, example, args.seconds, folder)
    answers = {}
    for tool, question in tools.items():
        if tool in known:
            continue
        load, date = OtherLoad(), f"{datetime.now(UTC):%Y-%m-%d %H:%M UTC}"
        with tempfile.TemporaryDirectory() as folder:
            answers[tool] = {**question(Path(folder)), "date": date, "others_percent": load.percent()}
        print(f"{name}, {tool}: {json.dumps(answers[tool])}", flush=True)
    return answers


def ask_traceml(name: str, example: Example, python: Path, scripts: Path | None, folder: Path) -> dict[str, Any]:
    """TraceML's final summary of its own script, or of a plain loop where the example is none of its."""
    own = bool(example.script and scripts and (scripts / example.script[0]).exists())
    if example.ranks > 1 and not own:
        return {"failed": "its own script is needed: --scripts"}
    script = scripts / example.script[0] if own and scripts else HERE / "traced/plain_loop.py"
    command = [python.parent / "traceml", "run", script, "--logs-dir", folder / "logs", "--run-name", "one"]
    command += ["--nproc-per-node", example.ranks] if example.ranks > 1 else []
    command += ["--args", *example.script[1:]] if own and example.script[1:] else []
    done = run(command, {"TRACED_EXAMPLE": name, "PYTHONPATH": str(HERE)}, folder)
    summary = folder / "logs/one/final_summary.json"
    if not summary.exists():
        return {"failed": last_line(done)}
    return {"script": example.script[0] if own else "traced/plain_loop.py", **traceml_answer(json.loads(summary.read_text()))}


def ask_slowai(name: str, example: Example, python: Path, folder: Path) -> dict[str, Any]:
    """What slowai makes of a plain loop: `fix` for its own examples, which tries remedies, and `diagnose` for others."""
    if example.ranks > 1:
        return {"failed": "it profiles one process"}
    verb = "diagnose" if example.script else "fix"
    command = [python, "-m", "slowai", verb, HERE / "traced/plain_loop.py", "--json"]
    done = run(command, {"TRACED_EXAMPLE": name, "PYTHONPATH": str(HERE)}, folder)
    if done.returncode:
        return {"failed": last_line(done)}
    return slowai_answer(json.loads(done.stdout[done.stdout.index("{") :]))


def ask_accel(name: str, example: Example, seconds: float, folder: Path) -> dict[str, Any]:
    """What `accel doctor` says of the example as a task; and `accel advise` of its layers, where there is one process."""
    optimiser = ["+plugins=[adamw]"]
    if example.slow_rank == "update":
        optimiser = ["+plugins=[optimizer]", "plugins.optimizer.target=traced.slow_adamw.SlowAdamW"]
    words = ["task._target_=traced.task.Traced", f"task.example={name}", f"batch_size={example.loader_batch or 'null'}", *optimiser]
    start: list[Any] = [sys.executable, "-m"]
    if example.ranks > 1:
        start += ["torch.distributed.run", "--standalone", "--nproc-per-node", example.ranks, "-m"]
        words.append("+plugins=[ddp]")
    surroundings = {"PYTHONPATH": os.pathsep.join((str(HERE.parent), str(HERE)))}
    done = run([*start, "accel", "doctor", "--json", "--seconds", seconds, *words], surroundings, folder)
    if done.returncode:
        return {"failed": last_line(done)}
    answer = accel_answer(json.loads(done.stdout[done.stdout.index("{") :]))
    if example.ranks > 1:
        return answer
    done = run([*start, "accel", "advise", "--json", *words], surroundings, folder)
    return answer | ({"layers": bound_shares(json.loads(done.stdout))} if done.returncode == 0 else {})


def run(command: Sequence[Any], more: Mapping[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder of its own, and wait for it."""
    surroundings = {**os.environ, **more, "CUDA_VISIBLE_DEVICES": "", "COLUMNS": "160"}
    words = list(map(str, command))
    try:
        return subprocess.run(
            words, env=surroundings, cwd=folder, capture_output=True, text=True, timeout=60 * MINUTES, check=False
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(words, 1, "", f"not done in {MINUTES} minutes")


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    """The last words of a process that failed."""
    lines = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()
    return lines[-1].strip()


def versions(python: Path) -> dict[str, str]:
    """The versions of the tools in an environment."""
    script = (
        "import json, sys; from importlib.metadata import distributions as d;"
        "print(json.dumps({x.name: x.version for x in d() if x.name in sys.argv[1:]}))"
    )
    done = subprocess.run([python, "-c", script, *PEER_PACKAGES], capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def table(result: dict[str, Any]) -> str:
    """The results as Markdown: word for word what each tool says, and how often the cause was named where there is one."""
    rows = result["rows"]
    asked = [tool for tool in TOOLS if any(tool in row["answers"] for row in rows)]
    lines = [
        "# What each tool says of the same run", "",
        "The examples of TraceML (its own scripts, where a file is named) and of slowai (which ships none: what its README has by "
        "name and size), each as a task of accel. Words of the tools as they print them; n = 1 of each. *Others*: of the cores, "
        "what other processes took meanwhile.", "",
        machine.sentence(result), "",
    ]  # fmt: skip
    made_slow = [row for row in rows if row["cause"]]
    for tool in asked:
        known = [row for row in made_slow if tool in row["answers"]]
        right = sum(is_right(tool, row["cause"], row["answers"][tool]) for row in known)
        lines.append(f"- {TOOLS[tool]} names the cause of {right} of {len(known)} that have one by construction.")
    for row in rows:
        made = f"Made slow: {row['injected']}." if row["injected"] else "Nothing is made slow."
        lines += ["", f"## {row['example']}", "", f"{row['source']}. {made}", ""]
        lines += ["| | says | and then | took | others |", "|---|---|---|---|---|"]
        for tool in asked:
            answer = row["answers"].get(tool, {"failed": "not asked"})
            busy = answer.get("others_percent")
            cells = [answer.get("says", "-"), answer.get("next") or answer.get("failed", ""), answer.get("took", "")]
            cells.append("" if busy is None else f"{busy:.0f} %")
            lines.append(f"| {TOOLS[tool]} | " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
