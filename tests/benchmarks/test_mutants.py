"""`make mutants`: what it changes is there, and a mutant is killed by the test that executes its line, if one notices."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
SOURCE = '''
LIMIT = 3


def shorten(value: float, most: float = 1.0, *, keep: bool = False) -> float:
    """Return the value, or the most."""
    if keep:
        return value
    return min(
        value,
        most,
    )


def unseen(value: float) -> float:
    return value + 1
'''
TESTS = """
import os

import pytest
from number import shorten


def test_it_is_short() -> None:
    assert shorten(2.0, 1.0) == 1.0


@pytest.fixture(scope="module")
def kept() -> float:
    return shorten(2.0, keep=True)


def test_it_uses_what_others_use_too(kept: float) -> None:
    pass


def test_it_is_kept(kept: float) -> None:
    assert kept == 2.0


def test_it_fails_unless_it_is_traced() -> None:
    shorten(2.0, 2.0)
    assert "ACCEL_LINE_TRACE" in os.environ  # a test that fails without the mutation too kills nobody
"""
SCRIPT = """
import sys
from pathlib import Path
from mutant_judge import rows
from mutant_tests import collect, keep, kept
from mutation import mutations

tree = Path(sys.argv[1])
coverage = collect(tree, [tree / "number.py"], ["test_number.py"], 1)
keep(tree / "kept.json", "digest", coverage)
assert kept(tree / "kept.json", "another") is None
coverage = kept(tree / "kept.json", "digest")
chosen = [
    mutation for mutation in mutations(tree / "number.py")
    if f"{mutation.line}:{mutation.before}:{mutation.after}" in sys.argv[2:]
]
for row in rows(chosen, [tree], coverage, tree, budget=60):
    print("row", row["line"], row["fate"], row["by"], sep="|", flush=True)
"""


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[ModuleType, ModuleType]]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setattr(sys, "dont_write_bytecode", sys.dont_write_bytecode)
    before = set(sys.modules)
    import mutants  # type: ignore[import-not-found]
    import mutation  # type: ignore[import-not-found]

    yield mutants, mutation
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(BENCHMARKS)):
            del sys.modules[name]


def test_the_files_and_the_tests_are_there(modules: tuple[ModuleType, ModuleType]) -> None:
    mutants, _ = modules
    assert [glob for glob in mutants.FILES if not list(ROOT.glob(glob))] == []
    assert [room for room in mutants.ROOMS if not (ROOT / room).exists()] == []
    from mutant_tests import AT_IMPORT  # type: ignore[import-not-found]

    for test in AT_IMPORT:
        file, _, name = test.partition("[")[0].partition("::")
        assert f"def {name}(" in (ROOT / file).read_text()


def test_every_named_mutant_is_one(modules: tuple[ModuleType, ModuleType]) -> None:
    """A line that was changed takes its mutants' names with it: they are to be judged anew."""
    mutants, mutation = modules
    named = json.loads((BENCHMARKS / "equivalent_mutants.json").read_text())
    assert len({mutants.key(row) for row in named}) == len(named)
    for row in named:
        assert row["fate"] in ("equivalent", "needs a GPU")
        assert row["reason"]
    files = {row["file"] for row in named}
    assert files <= {path.relative_to(ROOT).as_posix() for path in mutants.mutable(ROOT)}
    there = {mutants.key(mutants.new_row(change, ROOT)) for name in files for change in mutation.mutations(ROOT / name)}
    assert [row for row in named if mutants.key(row) not in there] == []


def test_a_mutation_says_where_it_matters(modules: tuple[ModuleType, ModuleType], tmp_path: Path) -> None:
    _, mutation = modules
    path = tmp_path / "number.py"
    path.write_text(SOURCE)
    reaches = {(change.line, change.before.split("(")[0]): change.reach for change in mutation.mutations(path)}
    assert reaches[2, "3"] == range(1, 18)  # of a module: any line of it
    assert reaches[5, "1.0"] == range(6, 13)  # a default: the function
    assert reaches[9, "return min"] == reaches[9, "min"] == range(9, 13)
    for change in mutation.mutations(path):
        compile(change.apply(SOURCE.encode()), "number.py", "exec")
        assert change.old != change.new


@pytest.mark.slow
def test_a_mutant_is_killed_by_a_test_that_executes_it(tmp_path: Path) -> None:
    (tmp_path / "number.py").write_text(SOURCE)
    (tmp_path / "test_number.py").write_text(TESTS)
    (tmp_path / "benchmarks").symlink_to(BENCHMARKS)
    chosen = ["8:return value:return None", "5:1.0:2.0", "16:return value + 1:return None"]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), *chosen]
    done = subprocess.run(command, cwd=BENCHMARKS, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    fates = [tuple(line.split("|")[2:]) for line in done.stdout.splitlines() if line.startswith("row")]
    assert fates == [
        ("survived", "4 tests execute it"),
        ("killed", "test_number.py::test_it_is_kept"),
        ("survived", "no test executes it"),
    ]
