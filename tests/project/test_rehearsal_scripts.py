"""When the rehearsal runs in CI, and when there can be none. tests/rehearsal/test_environment.py has what takes pip."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "rehearsal"
SKIPPED = 77
pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("bash", "git", "sha256sum"))), reason="bash, git or sha256sum is not installed"
)


class Repository:
    """A repository with one file that names CUDA, and one that does not."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.git("init", "-q")
        self.commit({"accel/copies.py": "stream = torch.cuda.Stream()", "accel/clip.py": "norm", "docs/gpu.md": "CUDA"})
        self.base = self.git("rev-parse", "HEAD")

    def git(self, *arguments: str) -> str:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "gc.auto=0", *arguments]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=True).stdout.strip()

    def commit(self, changes: dict[str, str]) -> None:
        """Write files, and remove those whose text is empty."""
        for name, text in changes.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            if not text:
                path.unlink()
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "a")

    def changed_since(self, commit: str) -> int:
        return subprocess.run(["bash", SCRIPTS / "changed.sh", commit], cwd=self.folder, check=False).returncode


DEEP = ("deep" * 60 + "/") * 3
MANY = {f"accel/{DEEP}{number}.py": "cuda" for number in range(120)}
OTHER = {"accel/clip.py": "norms", "docs/gpu.md": "CUDA 13", "tests/plugins/test_clip.py": "cuda"}
PUSHES: dict[str, tuple[int, list[dict[str, str]]]] = {
    "nothing": (1, []),
    "other files": (1, [OTHER]),
    "the first of several commits": (
        0,
        [{"accel/copies.py": "torch.cuda.Event()"}, {"accel/clip.py": "norms"}, {"README.md": "a"}],
    ),
    "a file that no longer names it": (0, [{"accel/copies.py": "nothing"}]),
    "a file that is gone": (0, [{"accel/copies.py": ""}]),
    "a new file": (0, [{"accel/a new [file].py": "device='CUDA'"}]),
    "a stand-in": (0, [{"tests/rehearsal/native/a.cpp": "int"}]),
    "what ranks do": (0, [{"tests/support/cuda_cases.py": "a"}]),
    "so many that the list fills a pipe": (0, [MANY]),
}


@pytest.mark.parametrize("name", PUSHES)
def test_a_push_is_rehearsed_that_changes_what_names_cuda(name: str, tmp_path: Path) -> None:
    expected, commits = PUSHES[name]
    repository = Repository(tmp_path)
    for changes in commits:
        repository.commit(changes)
    assert repository.changed_since(repository.base) == expected


def test_a_push_is_rehearsed_whose_history_is_not_here(tmp_path: Path) -> None:
    assert Repository(tmp_path).changed_since("0" * 40) == 0


Tools = Callable[..., dict[str, str]]


@pytest.fixture
def tools(tmp_path: Path) -> Tools:
    """Give an environment in which there are no other programs than these, the user's own among them by their text.

    What a make that runs this suite tells its own children (MAKELEVEL, MAKEFLAGS) is not in it.
    """

    def only(*names: str, **own: str) -> dict[str, str]:
        folder = tmp_path / "bin"
        folder.mkdir()
        for name in names:
            (folder / name).symlink_to(shutil.which(name) or "/missing")
        for name, text in own.items():
            (folder / name).write_text(f"#!{shutil.which('sh')}\n{text}\n")
            (folder / name).chmod(0o755)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
        return inherited | {"PATH": str(folder)}

    return only


def venv(folder: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [shutil.which("bash") or "", str(SCRIPTS / "venv.sh"), str(folder), "2.14.1", "constraints.txt"]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env, cwd=SCRIPTS.parents[1])


def test_another_processor_is_a_skip_in_one_sentence(tools: Tools, tmp_path: Path) -> None:
    done = venv(tmp_path / "venv", tools(uname="echo Darwin arm64"))
    assert done.returncode == SKIPPED
    assert done.stdout == (
        "rehearsal skipped: it takes the CUDA build of torch 2.14.1 for Linux on x86-64, and this is Darwin arm64\n"
    )
    assert not done.stderr


def test_without_a_compiler_it_is_a_skip_in_one_sentence(tools: Tools, tmp_path: Path) -> None:
    done = venv(tmp_path / "venv", tools(uname="echo Linux x86_64", nm=""))
    assert done.returncode == SKIPPED
    assert done.stdout == "rehearsal skipped: the stand-ins are built with g++ and nm; install g++ and binutils\n"
    assert not done.stderr


def test_an_environment_of_somebody_elses_is_left_as_it_is(tools: Tools, tmp_path: Path) -> None:
    (folder := tmp_path / "venv").mkdir()
    done = venv(folder, tools(uname="echo Linux x86_64", **{"g++": "", "nm": ""}))
    assert done.returncode == 2
    assert "has no CUDA build of torch 2.14.1; name another directory (CUDA_VENV), or remove it" in done.stderr
    assert not list(folder.iterdir())


def test_a_skip_of_make_is_no_failure(tools: Tools, tmp_path: Path) -> None:
    env = tools("bash", "sh", "make", uname="echo Darwin arm64")
    done = subprocess.run(
        ["make", "rehearsal", f"CUDA_VENV={tmp_path / 'venv'}"], capture_output=True, text=True, check=False, env=env,
        cwd=SCRIPTS.parents[1],
    )  # fmt: skip
    assert (done.returncode, done.stdout.count("\n")) == (0, 1), done
    assert done.stdout.startswith("rehearsal skipped: ")
