"""Whether the tests notice a slip: random mutations of the files that decide what is computed, each put to the tests.

    python benchmarks/mutants.py --count 300 --out benchmarks/results/DATE-mutants.json   # what `make mutants` does

A mutant is killed if a test fails, or runs into the time limit. One that cannot change any result is named in
`equivalent_mutants.json`, with the reason, and does not count. Each test session is forked from a process that has torch already,
in a copy of the checkout of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"  # a file that changes twice in a second would be read from its stale bytecode
sys.dont_write_bytecode = True

import machine  # noqa: E402
from mutation import Mutation, mutations  # noqa: E402
from results import save  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
EQUIVALENT = Path(__file__).with_name("equivalent_mutants.json")
RUNS = [f"tests/invariants/test_{name}.py" for name in ("random_runs", "plain_loop", "accumulation_windows")]
SHARED = "tests/plugins/test_common.py"
RESUME = "tests/invariants/test_resume.py"
TESTS: dict[str, list[str]] = {
    "accel/optim/*.py": ["tests/optim", "tests/plugins/test_{stem}.py", *RUNS, SHARED],
    "accel/parts/*.py": [*RUNS, "tests/invariants", SHARED, "tests/trainer", "tests/engine"],
    "accel/plugins/ema.py": ["tests/plugins/test_ema.py", *RUNS, RESUME],
    "accel/plugins/clip.py": ["tests/plugins/test_clip.py", *RUNS],
    "accel/plugins/extents.py": ["tests/plugins/test_extents.py", RESUME],
    "accel/plugins/accumulate.py": ["tests/plugins/test_accumulate.py", *RUNS],
    "accel/plugins/finite_guard.py": ["tests/plugins/test_finite_guard.py", "tests/plugins/test_finite_guard_runs.py", *RUNS],
    "accel/plugins/master_weights.py": ["tests/plugins/test_master_weights.py", SHARED],
    "accel/plugins/step_in_backward.py": ["tests/plugins/test_step_in_backward.py", SHARED],
    "accel/plugins/onecycle.py": ["tests/plugins/test_onecycle.py", *RUNS],
    "accel/plugins/cyclic.py": ["tests/plugins/test_cyclic.py", *RUNS],
    "accel/plugins/cosine.py": ["tests/plugins/test_cosine.py", *RUNS],
    "accel/parts/shared/autocast.py": [
        "tests/plugins/test_amp.py",
        "tests/plugins/test_master_weights.py",
        *RUNS,
        "tests/invariants",
    ],
    "accel/data/sampling.py": [
        "tests/data/test_sampling.py",
        RESUME,
        "tests/invariants/test_loaders.py",
    ],
    "accel/data/philox.py": ["tests/data/augmentation", "tests/data/test_sampling.py", "tests/plugins/test_augment.py"],
    "accel/data/augmentation.py": ["tests/data/augmentation", "tests/plugins/test_augment.py"],
    "accel/data/batches/*.py": ["tests/data/batches", *RUNS, "tests/invariants"],
    "accel/data/codecs/tiled_jpeg.py": ["tests/data/codecs", "tests/data/stores"],
    "accel/data/codecs/restart_markers.py": ["tests/data/codecs", "tests/data/stores"],
    "accel/checkpoints/*.py": ["tests/checkpoints", RESUME, "tests/invariants/test_resume_refusals.py"],
    "accel/engine/evaluation/evaluate.py": ["tests/engine", "tests/trainer", *RUNS],
    "accel/device/rng.py": [RESUME, "tests/invariants/test_loaders.py", "tests/device"],
}
"""The files that decide what is computed, and the tests that ought to notice, the likeliest first."""
LIMIT_S = 400


def population() -> list[tuple[Mutation, list[str]]]:
    """Return every mutation of the files in `TESTS`, each with its tests."""
    tests = {path: names for glob, names in TESTS.items() for path in sorted(ROOT.glob(glob)) if path.name != "__init__.py"}
    listed = []
    for path, names in tests.items():
        existing = [name.format(stem=path.stem) for name in names]
        existing = list(dict.fromkeys(name for name in existing if (ROOT / name).exists()))
        listed += [(mutation, existing) for mutation in mutations(path)]
    return listed


def passes(tree: Path, tests: list[str], limit: float = LIMIT_S) -> bool:
    """Return whether the tests pass in a tree. The session is a fork of this process; it is killed after `limit` seconds."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setsid()
            os.chdir(tree)
            null = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(null, stream)
            os.environ["PYTHONPATH"] = str(tree)
            sys.path[:0] = [str(tree)]
            import pytest

            status = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *tests]))
        finally:
            os._exit(status)
    end = time.monotonic() + limit
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status == 0
        if time.monotonic() > end:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return False
        time.sleep(0.05)


def survives(tree: Path, mutation: Mutation, tests: list[str]) -> bool:
    """Return whether the tests pass with the mutation, in a tree that is put back afterwards."""
    path = tree / mutation.path.relative_to(ROOT)
    source = path.read_bytes()
    path.write_bytes(mutation.apply(source))
    try:
        return passes(tree, tests)
    finally:
        path.write_bytes(source)


def copy_checkout(folder: Path) -> Path:
    """Return a copy of the files that git knows."""
    names = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, check=True).stdout
    for name in names.decode().split("\0")[:-1]:
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def main() -> None:
    """Draw mutants, put them to the tests, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default="", help="mutants of files whose path contains this")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()

    import torch  # noqa: F401  # once, before the forks

    drawn = [pair for pair in population() if options.only in str(pair[0].path.relative_to(ROOT))]
    total = len(drawn)
    drawn = random.Random(options.seed).sample(drawn, min(options.count, total))
    equivalent: dict[str, dict[str, str]] = json.loads(EQUIVALENT.read_text()) if EQUIVALENT.exists() else {}
    with TemporaryDirectory() as folder:
        trees: SimpleQueue[Path] = SimpleQueue()
        for number in range(options.jobs):
            (tree := Path(folder) / str(number)).mkdir()
            trees.put(copy_checkout(tree))
        tests = list(dict.fromkeys(test for _, names in drawn for test in names))
        if not passes(Path(folder) / "0", tests, limit=20 * LIMIT_S):
            sys.exit("the tests fail without a mutation, and would kill every mutant: " + " ".join(tests))
        rows = []

        def judge(pair: tuple[Mutation, list[str]]) -> None:
            mutation, tests = pair
            name = str(mutation.path.relative_to(ROOT))
            reason = equivalent.get(name, {}).get(mutation.name)
            tree = trees.get()
            began = time.monotonic()
            fate = "equivalent" if reason else "survived" if survives(tree, mutation, tests) else "killed"
            trees.put(tree)
            rows.append({"file": name, "line": mutation.line, "mutation": mutation.name, "fate": fate, "reason": reason})
            print(f"{len(rows):4} {fate:10} {time.monotonic() - began:5.0f} s  {name}:{mutation.line}  {mutation.name}", flush=True)

        with ThreadPoolExecutor(options.jobs) as pool:
            list(pool.map(judge, drawn))
    save(*report(rows, total, options.seed), options.out)


def report(rows: list[dict[str, Any]], total: int, seed: int) -> tuple[dict[str, Any], str]:
    """Return the result and its table."""
    counts = {fate: sum(row["fate"] == fate for row in rows) for fate in ("killed", "survived", "equivalent")}
    judged = counts["killed"] + counts["survived"]
    facts = machine.facts(1, ["torch", "accel-train", "pytest", "hypothesis"])
    lines = [
        "# Mutants", "", machine.sentence(facts), "",
        f"{len(rows)} of {total} mutants of the files that decide what is computed (seed {seed}): {counts['killed']} killed of "
        f"{judged}, {100 * counts['killed'] / max(1, judged):.1f} %; {counts['equivalent']} more change no result.", "",
        "| fate | where | mutation | reason |", "|---|---|---|---|",
    ]  # fmt: skip
    lines += [
        f"| {row['fate']} | {row['file']}:{row['line']} | `{row['mutation']}` | {row['reason'] or ''} |".replace("\n", " ")
        for row in sorted(rows, key=lambda row: (row["file"], row["line"]))
        if row["fate"] != "killed"
    ]
    return {"machine": facts, "population": total, "seed": seed, **counts, "mutants": rows}, "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
