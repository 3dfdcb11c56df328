"""Which tests are put to a mutant: those that execute the changed line, the most specific first."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import line_trace
from mutation import Mutation

__all__ = ["Coverage", "collect", "keep", "kept", "lines_digest"]

AT_IMPORT = ("tests/project/test_mirror.py::test_yaml_equals_the_constructor[{stem}]",)
"""Tests that look at what was made when a file was imported, such as the defaults of a plugin, and execute none of its lines."""
CHUNKS = (10, 50)
"""So many tests are in a mutant's first session and in the second; the third has the rest."""


class Coverage:
    """What the tests execute, and how long they take.

    `lines` has the tests of each (file, line), the file relative to the checkout; `seconds` has each test's time of a processor;
    `left_out` are tests that fail or are skipped under the tracer: they judge no mutant.
    """

    def __init__(self, lines: dict[tuple[str, int], set[str]], seconds: dict[str, float], left_out: list[str]) -> None:
        self.lines = lines
        self.seconds = seconds
        self.left_out = left_out
        self.breadth = Counter(test for tests in lines.values() for test in tests)

    def tests(self, mutation: Mutation, root: Path) -> list[str]:
        """Return the tests that execute a mutation's lines, the likeliest to notice first."""
        name = mutation.path.relative_to(root).as_posix()
        tests = self._executing(name, mutation.reach) or self._executing(name, [mutation.statement])
        if not mutation.in_body:
            tests |= {test for test in (extra.format(stem=mutation.path.stem) for extra in AT_IMPORT) if test in self.seconds}
        cases = defaultdict(list)
        for test in sorted(tests, key=self._cost):
            cases[test.partition("[")[0]].append(test)
        ranks = {test: rank for group in cases.values() for rank, test in enumerate(group)}
        return sorted(tests, key=lambda test: (ranks[test].bit_length(), self._cost(test)))

    def chunks(self, tests: list[str], budget: float) -> list[list[str]]:
        """Return the tests that fit into so many seconds, at least one, in sessions of growing size."""
        fitting, spent = [], 0.0
        for test in tests:
            if fitting and spent + self.seconds[test] > budget:
                continue
            fitting.append(test)
            spent += self.seconds[test]
        ends = [0, *CHUNKS, len(fitting)]
        return [chunk for start, end in pairwise(ends) if (chunk := fitting[start:end])]

    def _executing(self, name: str, numbers: Iterable[int]) -> set[str]:
        return set[str]().union(*(self.lines.get((name, number), ()) for number in numbers))

    def _cost(self, test: str) -> float:
        return self.breadth[test] * (0.2 + self.seconds[test])


def collect(tree: Path, files: Iterable[Path], tests: list[str], jobs: int) -> Coverage:
    """Run the tests once in a copy of the checkout, under the tracer, and return what they execute."""
    start = f"import sys\n\nsys.path.append({str(tree / 'benchmarks')!r})\nimport line_trace\n\nline_trace.start()\n"
    (tree / "sitecustomize.py").write_text(start)  # also where a test gives its processes a path of their own
    with TemporaryDirectory() as folder:
        Path(folder, "files").write_text("\n".join(map(str, files)))
        environment = {**os.environ, line_trace.FOLDER: folder, "PYTHONPATH": f"{tree}{os.pathsep}{tree / 'benchmarks'}"}
        workers = ["-n", str(jobs), "--dist", "worksteal"] if jobs > 1 else ["-p", "no:xdist"]
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "--no-header",
            "-p",
            "line_trace_plugin",
            "-p",
            "no:cacheprovider",
            *workers,
            *tests,
        ]
        done = subprocess.run(command, cwd=tree, env=environment, stdout=subprocess.PIPE, text=True, check=False)
        print(done.stdout[-3000:], flush=True)
        lines, seconds, left_out = line_trace.read(Path(folder))
    (tree / "sitecustomize.py").unlink()
    relative = {(Path(name).relative_to(tree).as_posix(), number): tests - left_out for (name, number), tests in lines.items()}
    return Coverage(relative, seconds, sorted(left_out))


def lines_digest(files: Iterable[Path]) -> str:
    """Return a digest of the files' text: lines that were noted for another text are worth nothing."""
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()


def kept(path: Path, digest: str) -> Coverage | None:
    """Return what an earlier call kept in a file, if it was noted for the same text."""
    if not path.exists() or (found := json.loads(path.read_text()))["digest"] != digest:
        return None
    names = found["tests"]
    lines = {
        (name, int(number)): {names[i] for i in tests} for name, rows in found["lines"].items() for number, tests in rows.items()
    }
    return Coverage(lines, found["seconds"], found["left_out"])


def keep(path: Path, digest: str, coverage: Coverage) -> None:
    """Write to a file what the tests execute."""
    names = sorted(coverage.seconds)
    index = {name: number for number, name in enumerate(names)}
    lines: dict[str, dict[int, list[int]]] = defaultdict(dict)
    for (name, number), tests in coverage.lines.items():
        lines[name][number] = sorted(index[test] for test in tests)
    path.write_text(
        json.dumps({"digest": digest, "tests": names, "lines": lines, "seconds": coverage.seconds, "left_out": coverage.left_out})
    )
