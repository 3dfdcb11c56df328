"""Puts mutants to the tests."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from forked_tests import Server, serve
from mutant_rows import new_row
from mutant_tests import Coverage
from mutation import Mutation

__all__ = ["Judge", "rows"]


def _chunks(coverage: Coverage, mutation: Mutation, root: Path, budget: float) -> list[list[str]]:
    return coverage.chunks(coverage.tests(mutation, root), budget)


class Judge:
    """Puts mutants to the tests of one server."""

    def __init__(self, server: Server, coverage: Coverage, budget: float) -> None:
        self.server = server
        self.coverage = coverage
        self.budget = budget
        self.sound: dict[tuple[str, ...], bool] = {}
        self.unsound: set[str] = set()

    def row(self, mutation: Mutation) -> dict[str, Any]:
        """Return the row of a mutant that was put to the tests."""
        began = time.monotonic()
        fate, by = self.fate(mutation)
        return {**new_row(mutation, self.server.root), "fate": fate, "by": by, "seconds": round(time.monotonic() - began, 1)}

    def fate(self, mutation: Mutation) -> tuple[str, str]:
        """Return a mutant's fate, and by what it is killed or why it survives."""
        tests = self.coverage.tests(mutation, self.server.root)
        if not tests:
            return "survived", "no test executes it"
        for chunk in self.coverage.chunks(tests, self.budget):
            if killer := self._killer(mutation, [test for test in chunk if test not in self.unsound]):
                return "killed", killer
        return "survived", f"{len(tests)} tests execute it"

    def _killer(self, mutation: Mutation, tests: list[str]) -> str:
        """Return the test that fails with the mutation and passes without, or what else ends the session; empty if it passes."""
        while tests:
            verdict = self.server.run(tests, mutation, self._limit(tests))
            if verdict.passed:
                return ""
            if self._is_sound([verdict.test] if verdict.test else tests):
                return verdict.test or verdict.reason
            if not verdict.test and len(tests) > 1:  # which of them?
                middle = len(tests) // 2
                return self._killer(mutation, tests[:middle]) or self._killer(mutation, tests[middle:])
            self.unsound.add(verdict.test or tests[0])
            tests = [test for test in tests if test not in self.unsound]
        return ""

    def _limit(self, tests: list[str]) -> float:
        return 60 + 10 * sum(self.coverage.seconds[test] for test in tests)

    def _is_sound(self, tests: list[str]) -> bool:
        """Return whether tests pass without a mutation, in a session of their own."""
        name = tuple(tests)
        if name not in self.sound:
            self.sound[name] = self.server.run(tests, None, self._limit(tests)).passed
        return self.sound[name]


def rows(waiting: list[Mutation], trees: list[Path], coverage: Coverage, root: Path, budget: float) -> Iterator[dict[str, Any]]:
    """Yield the rows of mutants as they come, judged in as many processes as there are copies of the checkout."""
    context = multiprocessing.get_context("fork")
    following = context.Value("i", 0)
    results: Any = context.SimpleQueue()
    modules = {
        test.partition("::")[0] for mutation in waiting for chunk in _chunks(coverage, mutation, root, budget) for test in chunk
    }

    def work(server: Server) -> None:
        judge = Judge(server, coverage, budget)
        while True:
            with following.get_lock():
                number = following.value
                following.value += 1
            if number >= len(waiting):
                return
            results.put(judge.row(waiting[number]))

    def process(tree: Path) -> None:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that its session is killed with it
        try:
            serve(tree, root, sorted(modules), work)
        finally:
            results.put(None)

    processes = [context.Process(target=process, args=(tree,)) for tree in trees]
    try:
        for worker in processes:
            worker.start()
        ended = 0
        while ended < len(processes):
            row = results.get()
            if row is None:
                ended += 1
            else:
                yield row
    finally:
        for worker in processes:
            worker.terminate()
            worker.join()
