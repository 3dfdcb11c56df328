"""Training on a CPU: plain PyTorch as people write it, Lightning with its best flags, and accel, to the same number of updates.

python -m venv /tmp/peer && /tmp/peer/bin/pip install torch==2.13.0 lightning==2.6.6     # the peer, apart from accel
python benchmarks/cpu.py --peer /tmp/peer/bin/python --minutes 60 --out benchmarks/results/DATE-cpu.json
python benchmarks/cpu.py --peer /tmp/peer/bin/python --quick                             # two updates each, to see that it runs
python benchmarks/cpu.py --more allocators compiled --cases resnet18_96                  # and beside jemalloc, tcmalloc and compile
python benchmarks/cpu.py --rounds 1 --cases gpt --add --out benchmarks/results/DATE-cpu.json    # one round more, of one case
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

import machine
import torch
from cpu_arms import CASES
from results import save
from spread import shown, spread

from accel.report.other_load import OtherLoad

HERE = Path(__file__).parent
PACKAGES = ["torch", "accel-train"]
SET_BY_USERS = ("OMP_", "GOMP_", "KMP_", "MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD", "MKL_", "DNNL_", "ONEDNN_")
"""Beginnings of variables that no run is given: each arm has what it sets itself."""
LIBRARIES = {"jemalloc": "libjemalloc.so.2", "tcmalloc": "libtcmalloc_minimal.so.4"}
"""Allocators to preload (Debian: apt-get install libjemalloc2 libtcmalloc-minimal4)."""
BUSY, TRIES = 10.0, 3
"""Percent of the cores that other programs may take beside a run, and how often it is made where they take more."""
FLOAT32 = ["+plugins=[fast,adamw]", "~plugins.amp"]
BFLOAT16 = ["+plugins=[fast,adamw]"]
OPTIMISER = ["plugins.adamw.lr=1.0e-3", "plugins.adamw.weight_decay=0.01"]


@dataclass(frozen=True)
class Arm:
    """One way to train: who does it, the words that it is given, and an allocator that is preloaded."""

    who: str
    words: tuple[str, ...] = ()
    library: str = ""
    against: str = ""
    """The arm that it is compared with."""
    target: tuple[float, float] | None = None
    """How many times as fast it must be in convolutional networks: with small batches, and with large ones."""


ARMS = {
    "plain, float32": Arm("plain"),
    "Lightning, float32": Arm("lightning", against="plain, float32"),
    "accel, float32": Arm("accel", (*FLOAT32, *OPTIMISER), against="Lightning, float32", target=(1.3, 1.3)),
    "Lightning, bfloat16": Arm("lightning", ("bf16",), against="plain, float32"),
    "accel, bfloat16": Arm("accel", (*BFLOAT16, *OPTIMISER), against="Lightning, bfloat16", target=(1.1, 1.25)),
}
ALLOCATORS = {
    "accel, float32, memory=system": Arm(
        "accel", (*FLOAT32, *OPTIMISER, "plugins.backend.memory=system"), against="accel, float32"
    ),
    "accel, float32, jemalloc": Arm("accel", (*FLOAT32, *OPTIMISER), "jemalloc", against="accel, float32"),
    "accel, float32, tcmalloc": Arm("accel", (*FLOAT32, *OPTIMISER), "tcmalloc", against="accel, float32"),
}
COMPILED = {
    "accel, float32, compile": Arm("accel", (*FLOAT32, "+plugins=[compile]", *OPTIMISER), against="accel, float32"),
    "accel, bfloat16, compile": Arm("accel", (*BFLOAT16, "+plugins=[compile]", *OPTIMISER), against="accel, bfloat16"),
}
MORE = {"allocators": ALLOCATORS, "compiled": COMPILED}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", help="the Python that has lightning; without it, Lightning is left out")
    parser.add_argument("--cases", nargs="*", choices=CASES, default=list(CASES))
    parser.add_argument("--formats", nargs="*", default=["float32", "bfloat16"], help="a CPU may have to emulate bfloat16")
    parser.add_argument("--more", nargs="*", choices=MORE, default=[], help="accel with other allocators too, or compiled")
    parser.add_argument("--add", action="store_true", help="keep the runs that --out has, of the same machine and versions")
    parser.add_argument("--rounds", type=int, default=7, help="at most so many; each runs all arms once, in random order")
    parser.add_argument("--minutes", type=float, default=60.0, help="no round begins that would end later, but the first")
    parser.add_argument("--quick", action="store_true", help="two updates each, one round")
    parser.add_argument("--out", type=Path, help="write the results to this .json, and the table to the .md beside it")
    args = parser.parse_args()
    head = machine.facts(threads=None, packages=PACKAGES) | {"peer": peer_versions(args.peer)}
    arms = ARMS | {name: arm for group in args.more for name, arm in MORE[group].items()}
    arms = {name: arm for name, arm in arms.items() if arm.who != "lightning" or args.peer}
    arms = {name: arm for name, arm in arms.items() if any(number in name for number in args.formats)}
    runs = earlier_runs(args.out, head) if args.add else {}
    asked = {case: [(case, name) for name in arms] for case in args.cases}
    with TemporaryDirectory() as folder:
        digits = save_digits(Path(folder))
        began = monotonic()
        for number in range(1 if args.quick else args.rounds):
            for case, pairs in asked.items():
                order = random.Random(len(runs.get(pairs[0], []))).sample(pairs, len(pairs))
                made = {pair: one_run(args, arms[pair[1]], case, digits) for pair in order}
                for pair in pairs:  # a round that was cut short counts in no arm
                    runs.setdefault(pair, []).append(made[pair])
                if args.out is not None:  # each time: the next may be cut short
                    args.out.write_text(json.dumps(result_of(head, runs), indent=1) + "\n")
            if (monotonic() - began) * (number + 2) / (number + 1) > 60 * args.minutes:
                break
    save(result_of(head, runs), table(result_of(head, runs)), args.out)


def one_run(args: argparse.Namespace, arm: Arm, case: str, digits: Path) -> dict[str, Any]:
    """One run, told on stderr; made again where other programs took too much of the cores, but not for ever."""
    python = args.peer if arm.who == "lightning" else sys.executable
    for _ in range(TRIES):
        figures = apart(python, arm, case, 2 if args.quick else CASES[case].updates, digits)
        print(case, arm.who, *arm.words, arm.library, figures, file=sys.stderr, flush=True)
        if (figures["others"] or 0.0) <= BUSY:
            break
    return figures


def earlier_runs(out: Path, head: dict[str, Any]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """The runs of quiet rounds that `out` has, by case and arm.

    Raises:
        SystemExit: where they are of another machine, or of other versions.
    """
    if not out.exists():
        return {}
    result = json.loads(out.read_text())
    if differing := [key for key in ("cpu", "cores", "os", "python", "versions", "peer") if result[key] != head[key]]:
        sys.exit(f"{out} cannot be added to, since these differ: {', '.join(differing)}")
    head["command"] = result["command"]
    kept: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for case in result["cases"]:
        rounds = zip(*(arm["runs"] for arm in case["arms"].values()), strict=True)
        for round_ in rounds:
            if all((run["others"] or 0.0) <= BUSY for run in round_):
                for name, run in zip(case["arms"], round_, strict=True):
                    kept.setdefault((case["name"], name), []).append(run)
    return kept


def result_of(head: dict[str, Any], runs: dict[tuple[str, str], list[dict[str, Any]]]) -> dict[str, Any]:
    """All that was measured."""
    cases = [{"name": case, "about": CASES[case].about, "arms": summed(case, runs)} for case in CASES]
    cases = [case for case in cases if case["arms"]]
    return {"schema": 1, "benchmark": "cpu", "unit": "milliseconds per update", **head, "cases": cases}


def save_digits(folder: Path) -> Path:
    """The digits in a file, since the peer's Python need not have scikit-learn."""
    from accel.tasks.digits import digits

    torch.save(digits()["train"].tensors, folder / "digits.pt")
    return folder / "digits.pt"


def apart(python: str, arm: Arm, case: str, updates: int, digits: Path) -> dict[str, Any]:
    """One run in a process of its own. Raises SystemExit where it fails."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(SET_BY_USERS)}
    env |= {"PYTHONPATH": os.pathsep.join((str(HERE), str(HERE.parent))), "CUDA_VISIBLE_DEVICES": ""}
    if arm.library:
        env["LD_PRELOAD"] = LIBRARIES[arm.library]
    load = OtherLoad()
    words = [python, str(HERE / "cpu_arms.py"), arm.who, case, str(updates), str(digits), *arm.words]
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False, cwd=digits.parent)
    if done.returncode:
        sys.exit(f"{arm.who}, {case}: {done.stderr[-2000:]}")
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures | {"others": load.percent()}


def summed(case: str, runs: dict[tuple[str, str], list[dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """The runs of one case by arm, each with how many times as fast it is as the arm that it is compared with, round by round."""
    summary: dict[str, dict[str, Any]] = {}
    for name, arm in (ARMS | ALLOCATORS | COMPILED).items():
        own, others = runs.get((case, name), []), runs.get((case, arm.against), [])
        if not own:
            continue
        summary[name] = {
            "n": len(own), "time": spread([run["ms"] for run in own]), "whole": spread([run["whole"] for run in own]),
            "peak": spread([run["peak"] for run in own]), "loss": own[0]["loss"], "threads": own[0]["threads"],
            "others": max(run["others"] or 0.0 for run in own), "runs": own,
        }  # fmt: skip
        if others:  # of the same rounds: an arm that came later was in the last of them
            pairs = list(zip(others[-len(own) :], own[-len(others) :], strict=True))
            summary[name] |= {"against": arm.against, "times": spread([other["ms"] / run["ms"] for other, run in pairs])}
        if arm.target is not None and case.startswith("resnet"):
            summary[name]["target"] = arm.target[CASES[case].is_large]
    return summary


def peer_versions(python: str | None) -> dict[str, str]:
    """What the peer's Python has."""
    if python is None:
        return {}
    code = "import json, torch, lightning; print(json.dumps({'torch': torch.__version__, 'lightning': lightning.__version__}))"
    versions: dict[str, str] = json.loads(subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout)
    return versions


def table(result: dict[str, Any]) -> str:
    """The results as Markdown."""
    peer = ", ".join(f"{name} {version}" for name, version in result["peer"].items()) or "left out (no --peer)"
    lines = [
        "# Training on a CPU",
        "",
        "Milliseconds per update, warm-up left out, and the seconds of the whole run without imports; each run is a process of its "
        "own, and the arms take turns in random order. *others* is the most that other programs took of the cores in any run; "
        f"beyond {BUSY:.0f} % a run was made again. *faster* is against the arm in brackets, round by round, beside its target. "
        f"Median (10th .. 90th percentile). *loss*: mean over the last updates. Lightning ran in a Python of its own: {peer}.",
        "",
        machine.sentence(result),
    ]
    for case in result["cases"]:
        lines += [
            "",
            f"## {case['about']}",
            "",
            "| arm | n | ms | faster | whole, s | peak, MB | loss | others |",
            "|---" * 8 + "|",
        ]
        for name, arm in case["arms"].items():
            target = f", target {arm['target']:g}" if "target" in arm else ""
            faster = f"{shown(arm['times'], 2)} [{arm['against']}]{target}" if "times" in arm else "-"
            lines.append(
                f"| {name} | {arm['n']} | {shown(arm['time'])} | {faster} | {shown(arm['whole'])} | {arm['peak']['median']:,.0f} | "
                f"{arm['loss']:.4f} | {arm['others']:.0f} % |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
