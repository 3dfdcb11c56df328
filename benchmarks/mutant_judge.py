"""Puts a mutant to the tests."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from forked_tests import run_tests
from mutant_rows import new_row
from mutant_tests import Coverage
from mutation import Mutation

__all__ = ["Judge", "be_worker", "judge"]


class Killer(NamedTuple):
    """Tests that do not pass, and what the result says of them."""

    tests: list[str]
    reason: str


class Judge:
    """Puts mutants to the tests, in one copy of the checkout."""

    def __init__(self, tree: Path, coverage: Coverage, root: Path, budget: float) -> None:
        self.tree = tree
        self.coverage = coverage
        self.root = root
        self.budget = budget
        self.sound: dict[tuple[str, ...], bool] = {}

    def __call__(self, mutation: Mutation) -> tuple[str, str]:
        """Return a mutant's fate, and by what it is killed or why it survives."""
        tests = self.coverage.tests(mutation, self.root)
        if not tests:
            return "survived", "no test executes it"
        for chunk in self.coverage.chunks(tests, self.budget):
            while chunk and (killer := self._killer(mutation, chunk)):
                if self._is_sound(tuple(killer.tests)):
                    return "killed", killer.reason
                chunk = [test for test in chunk if test not in killer.tests]
        return "survived", f"{len(tests)} tests execute it"

    def _killer(self, mutation: Mutation, chunk: list[str]) -> Killer | None:
        """Return the test that fails with the mutation, or the whole chunk if it does not come so far as to run one."""
        path = self.tree / mutation.path.relative_to(self.root)
        source = path.read_bytes()
        path.write_bytes(mutation.apply(source))
        try:
            verdict = run_tests(self.tree, chunk, self._limit(chunk))
        finally:
            path.write_bytes(source)
        if verdict.passed:
            return None
        return Killer([verdict.test], verdict.test) if verdict.test else Killer(chunk, verdict.reason)

    def _limit(self, tests: list[str]) -> float:
        return 60 + 10 * sum(self.coverage.seconds[test] for test in tests)

    def _is_sound(self, tests: tuple[str, ...]) -> bool:
        """Return whether tests pass without a mutation, in a session of their own."""
        if tests not in self.sound:
            self.sound[tests] = run_tests(self.tree, list(tests), self._limit(list(tests))).passed
        return self.sound[tests]


_judge: Judge


def be_worker(trees: Any, coverage: Coverage, root: Path, budget: float) -> None:
    """Begin a process that judges, in one of the trees."""
    global _judge
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that a session is killed with it
    _judge = Judge(trees.get(), coverage, root, budget)


def judge(mutation: Mutation) -> dict[str, Any]:
    """Return the row of a mutant that was put to the tests in this process."""
    began = time.monotonic()
    fate, by = _judge(mutation)
    return {**new_row(mutation, _judge.root), "fate": fate, "by": by, "seconds": round(time.monotonic() - began, 1)}
