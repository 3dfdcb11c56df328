"""Warnings of a run: each once, at a line of the user's, from wherever they come."""

from __future__ import annotations

import os
import random
import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from threading import Thread

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from accel import Trainer
from accel.cli.exit_codes import exit_code
from accel.errors import AccelWarning
from accel.system.call_stack import is_user_class, is_user_code, is_user_function, warn_user, warnings_of_run


def emitted(work: Callable[[], object]) -> list[warnings.WarningMessage]:
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("default")
        work()
    return record


def in_a_thread() -> None:
    thread = Thread(target=lambda: [warn_user("slow") for _ in range(3)])
    thread.start()
    thread.join()


def in_a_fork() -> None:
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python's own, of forks beside threads
        child = os.fork()
    if child == 0:
        os.write(writer, str(len(emitted(lambda: [warn_user("slow"), warn_user("slow")]))).encode())
        os._exit(0)
    os.waitpid(child, 0)
    warn_user(f"the fork emitted {os.read(reader, 9).decode()}")
    os.close(reader)
    os.close(writer)


def test_once_in_a_run_whoever_says_it() -> None:
    def run() -> None:
        with warnings_of_run():
            for _ in range(2):
                in_a_fork()
                warn_user("slow")
                in_a_thread()

    texts = [str(one.message) for one in emitted(run)]
    assert texts == ["the fork emitted 1", "the fork emitted 0"], "the first fork spoke for all"
    assert [str(one.message) for one in emitted(run)] == texts, "another run has its own"


def test_a_thread_points_at_the_line_that_started_the_run() -> None:
    def run() -> None:
        with warnings_of_run():
            in_a_thread()

    (warning,) = emitted(run)
    assert warning.filename == __file__


@pytest.mark.parametrize(("rank", "texts"), [("0", ["shared", "own"]), ("1", ["rank 1: own"])])
def test_the_first_rank_speaks_for_all(rank: str, texts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", "2")

    def run() -> None:
        with warnings_of_run():
            warn_user("shared")
            warn_user("own", local=True)

    assert [str(one.message) for one in emitted(run)] == texts


class Draws(Dataset[Tensor]):
    """A data set with random augmentation from Python's own generator, which is read in its turn."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> Tensor:
        return torch.full((2,), random.random())


@pytest.mark.parametrize("plugin", ["prefetch", "threads"])
def test_a_run_of_several_epochs_warns_once_at_the_users_line(plugin: str) -> None:
    def run() -> None:
        Trainer(
            model=nn.Linear(2, 1), data=Draws(), val=Draws(), loss=lambda model, batch: model(batch).mean(), plugins=[plugin],
            epochs=3, batch_size=2, watch=(),
        ).fit()  # fmt: skip

    record = [one for one in emitted(run) if issubclass(one.category, AccelWarning)]
    texts = [str(one.message) for one in record]
    assert len(set(texts)) == len(texts), texts
    assert {one.filename for one in record} <= {__file__}


def test_a_command_has_one_line_for_it(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> int:
        warn_user("slow; mend it")
        return 0

    assert exit_code(command) == 0
    assert capsys.readouterr().err == "accel: warning: slow; mend it\n"
    assert sys.stderr is not None


@pytest.mark.parametrize("folder", ["usr/lib/python3/dist-packages", "home/me/.local/lib/python3.11/site-packages", "elsewhere"])
def test_an_installed_package_is_a_librarys_wherever_it_lies(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / folder / f"package_in_{folder.count('/')}"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("class Kind:\n    def method(self): ...\n")
    monkeypatch.syspath_prepend(package.parent)
    kind = import_module(package.name).Kind
    is_users = folder == "elsewhere"
    assert is_user_class(kind) == is_user_function(kind.method) == is_user_code(str(package / "__init__.py")) == is_users
