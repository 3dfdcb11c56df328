"""Every thread that accel starts has the current CUDA device of whoever started it: there is one way to start one."""

from __future__ import annotations

import ast

from tests.support.source_trees import ROOT, trees

HOME = "device/cuda/device_threads.py"
STARTERS = {
    "Thread",
    "Timer",
    "ThreadPoolExecutor",
    "start_new_thread",
    "start_joinable_thread",
    "to_thread",
    "BackgroundGenerator",
}
"""What starts a thread, by its name in the standard library and in prefetch_generator."""
BASES = {("data/loaders/read_ahead.py", "BackgroundGenerator")}
"""A class that starts a thread by itself: its subclass here is a DeviceThread first."""


def starters(tree: ast.AST) -> set[str]:
    """Names of things that start threads, which a module imports or reaches as an attribute of another."""
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    pools = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)} & {
        "multiprocessing.pool",
        "multiprocessing.dummy",
    }
    return names & STARTERS | {module for module in pools if module}


def test_threads_are_started_in_one_way() -> None:
    names = {name: starters(tree) - {starter for module, starter in BASES if module == name} for name, tree in trees()}
    assert names.pop(HOME) == {"Thread", "ThreadPoolExecutor"}, "the rule is alive"
    assert {name: starter for name, starter in names.items() if starter} == {}, "start a DeviceThread, or take a thread_pool"


def test_a_thread_of_another_package_is_a_device_thread_first() -> None:
    for module, base in BASES:
        tree = ast.parse((ROOT / module).read_text())
        classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and base in map(ast.unparse, node.bases)]
        assert classes
        assert all(ast.unparse(node.bases[0]) == "DeviceThread" for node in classes)


def test_the_rule_is_alive() -> None:
    assert starters(ast.parse("import threading\nthreading.Thread()")) == {"Thread"}
