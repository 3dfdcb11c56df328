"""Whether the tests notice a slip: random mutations of the files that decide what is computed, each put to the tests.

    python benchmarks/mutants.py --count 300 --out benchmarks/results/DATE-mutants.json   # what `make mutants` does
    python benchmarks/mutants.py --again FILE --tests tests/optim ... --out FILE          # survivors, after tests were written

First the tests run once under a tracer, which notes the lines that each executes. A mutant is put to the tests that execute its
line, the most specific first, in copies of the checkout. It is killed if a test fails that passes without the change, or if the
session runs into its time limit. `equivalent_mutants.json` names the mutants that change no result, and those that need a GPU.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"  # a file that changes twice in a second would be read from its stale bytecode
sys.dont_write_bytecode = True

import machine  # noqa: E402
from mutant_judge import rows as judge_all  # noqa: E402
from mutant_rows import key, new_row, report, sentence  # noqa: E402
from mutant_tests import Coverage, collect, keep, kept, lines_digest  # noqa: E402
from mutation import Mutation, mutations  # noqa: E402
from results import save  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
NAMED = Path(__file__).with_name("equivalent_mutants.json")
PLUGINS = (
    "accumulate", "adamw", "amp", "augment", "batch_lr", "clip", "cosine", "cyclic", "ema", "extents", "finite_guard", "lamb",
    "lars", "master_weights", "muon", "onecycle", "schedule_free", "sgd", "step_in_backward",
)  # fmt: skip
FILES = (
    "accel/parts/**/*.py", "accel/optim/**/*.py",
    *(f"accel/plugins/{name}.py" for name in PLUGINS),
    "accel/data/sampling.py", "accel/data/philox.py", "accel/data/augmentation.py",
    "accel/data/batches/*.py", "accel/data/ranks/*.py", "accel/data/randomness/*.py",
    "accel/data/codecs/tiled_jpeg.py", "accel/data/codecs/restart_markers.py",
    "accel/checkpoints/**/*.py",
    "accel/engine/checks/*.py", "accel/engine/evaluation/*.py", "accel/device/rng.py", "accel/device/generators.py",
)  # fmt: skip
"""The files that decide what is computed."""
ROOMS = (
    "tests/checkpoints", "tests/compatibility", "tests/data", "tests/device", "tests/engine", "tests/invariants", "tests/optim",
    "tests/parts", "tests/plugins", "tests/project/test_mirror.py", "tests/tasks", "tests/trainer",
)  # fmt: skip
"""The tests that ought to notice."""


def mutable(root: Path) -> list[Path]:
    """Return the files of `FILES`, in the checkout or in a copy of it."""
    return [path for glob in FILES for path in sorted(root.glob(glob)) if path.name != "__init__.py"]


def copy_checkout(folder: Path) -> Path:
    """Return a copy of the files that git knows or would take."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, capture_output=True, check=True).stdout
    for name in names.decode().split("\0")[:-1]:
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def judged(drawn: list[Mutation], earlier: dict[Any, dict[str, Any]], options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield the row of each drawn mutant, as they come: a named one, a kept one, or one that is put to the tests."""
    named = {key(row): row for row in json.loads(NAMED.read_text())} if NAMED.exists() else {}
    waiting = []
    for mutation in drawn:
        row = new_row(mutation, ROOT)
        if name := named.get(key(row)):
            yield {**row, "fate": name["fate"], "by": name["reason"]}
        elif earlier.get(key(row), row)["fate"] == "killed":
            yield {**earlier[key(row)], "line": mutation.line}
        else:
            waiting.append(mutation)
    if not waiting:
        return
    with TemporaryDirectory() as folder:
        trees = [copy_checkout(Path(folder, str(number))) for number in range(options.jobs)]
        coverage = noted(trees[0], options)
        for row in judge_all(waiting, trees, coverage, ROOT, options.budget):
            before = earlier.get(key(row))
            yield before if before and options.tests and row["fate"] == "survived" else row


def noted(tree: Path, options: argparse.Namespace) -> Coverage:
    """Return what the tests execute, kept or noted now."""
    digest = lines_digest(mutable(tree))
    coverage = kept(options.lines, digest) if options.lines else None
    if coverage is None:
        marks = ["-m", options.marks] if options.marks else []
        coverage = collect(tree, mutable(tree), [*marks, *(options.tests or ROOMS)], options.jobs)
        if options.lines:
            keep(options.lines, digest, coverage)
    return coverage


def main() -> None:
    """Draw mutants, put them to the tests, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--budget", type=float, default=120, help="seconds of tests for each mutant")
    parser.add_argument("--only", default="", help="mutants of files whose path contains this")
    parser.add_argument("--again", type=Path, help="an earlier result: what was killed there is not judged again")
    parser.add_argument("--tests", nargs="*", help="only these tests, in place of all rooms")
    parser.add_argument("--marks", help="only tests with these marks, such as 'not slow'")
    parser.add_argument("--lines", type=Path, help="a file that keeps what the tests execute, while nothing mutable changes")
    parser.add_argument("--note", default="", help="a sentence for the result")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that no process and no folder is left
    everything = [mutation for path in mutable(ROOT) for mutation in mutations(path) if options.only in str(path.relative_to(ROOT))]
    earlier: dict[Any, dict[str, Any]] = {}
    if options.again:
        result = json.loads(options.again.read_text())
        earlier = {key(row): row for row in result["mutants"]}
        drawn = [mutation for mutation in everything if key(new_row(mutation, ROOT)) in earlier]
    else:
        drawn = random.Random(options.seed).sample(everything, min(options.count, len(everything)))
    facts = machine.facts(1, ["torch", "accel-train", "pytest", "hypothesis"])
    rows = {key(row): row for row in (new_row(mutation, ROOT) for mutation in drawn)}
    rows |= {
        name: row if name in rows or row["fate"] == "killed" else {**row, "fate": "rewritten"} for name, row in earlier.items()
    }
    for row in judged(drawn, earlier, options):
        rows[key(row)] = row
        print(sentence(row), flush=True)
        result = report(list(rows.values()), facts, len(everything), options)
        if options.out:
            with contextlib.redirect_stdout(None):
                save(*result, options.out)
    save(*report(list(rows.values()), facts, len(everything), options), options.out)


if __name__ == "__main__":
    main()
