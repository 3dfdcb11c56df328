"""The scripts for bash, zsh and fish, sourced by these shells themselves, which then complete a line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.console_scripts import ROOT, install_scripts

BASH = """
source <(accel completion bash)
COMP_LINE=$1
COMP_POINT=${#1}
read -ra COMP_WORDS <<< "$1"
[[ $1 == *' ' ]] && COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
specification=$(complete -p "${COMP_WORDS[0]}")
function=${specification##*-F }
"${function%% *}" "${COMP_WORDS[0]}" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """The environment of a shell in which accel is installed."""
    scripts = install_scripts(tmp_path / "bin")
    (scripts / "python").symlink_to(sys.executable)
    return {**os.environ, "PATH": f"{scripts}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}


def bash(line: str, env: dict[str, str]) -> list[str]:
    """Return what bash puts in place of the word at the end of `line`."""
    done = subprocess.run(["bash", "-c", BASH, "bash", line], capture_output=True, text=True, check=True, env=env)
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("line", "replies"),
    [
        ("accel tr", ["train "]),
        ("accel train --c", ["--cfg ", "--config-dir ", "--config-path ", "--config-name "]),
        ("accel train --cfg ", ["job ", "hydra ", "all "]),
        ("accel train task=", ["digits ", "hf ", "images ", "text "]),  # bash takes = for the end of a word
        ("accel train 'task=dig", ["task=digits"]),  # and closes the quote itself
        ("accel train +plugins=[a", ["[accumulate", "[adamw", "[amp", "[augment", "[average"]),
        ("accel train +plugins=[amp,onec", ["[amp,onecycle] ", "[amp,onecycle,"]),
        ("accel train '+plugins=[amp,onec", ["+plugins=[amp,onecycle]", "+plugins=[amp,onecycle,"]),
        ("accel-train plugins.amp.dt", ["plugins.amp.dtype="]),
        ("accel-train plugins.amp.dtype=", ["bfloat16 ", "float16 "]),
        ("accel-train +experiment=q", ["quick "]),
        ("accel drill te", ["term "]),
        ("accel pack --format=", ["lmdb ", "raw "]),
        ("python -m accel.train ~plugins.progre", ["~plugins.progress "]),
        ("python -m accel pl", ["plugins "]),
        ("python -m http.ser", [""]),
        ("accel nonsense ", [""]),
    ],
)
def test_bash(line: str, replies: list[str], env: dict[str, str]) -> None:
    assert bash(line, env) == replies


def test_python_keeps_what_completed_it_before(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "before.bash").write_text("_mine() { COMPREPLY=(mine); }\ncomplete -F _mine python\n")
    script = BASH.replace("source <(", f"source {tmp_path}/before.bash\nsource <(accel completion bash)\nsource <(", 1)
    for line, reply in (("python foo", "mine\n"), ("python -m accel pl", "plugins \n")):
        done = subprocess.run(["bash", "-c", script, "bash", line], capture_output=True, text=True, check=True, env=env)
        assert done.stdout == reply


@pytest.mark.skipif(shutil.which("fish") is None, reason="needs fish")
def test_fish(env: dict[str, str]) -> None:
    code = "accel completion fish | source; complete -C (string join ' ' -- $argv)"
    for line, word in (
        ("accel tr", "train\ttrain a model"), ("accel train '+plugins=[amp,onec", "+plugins=[amp,onecycle]\t"),
        ("python -m accel.train task=d", "task=digits"), ("accel-train plugins.amp.dtype=b", "plugins.amp.dtype=bfloat16"),
    ):  # fmt: skip
        done = subprocess.run(["fish", "--no-config", "-c", code, line], capture_output=True, text=True, check=True, env=env)
        assert word in done.stdout


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
def test_zsh_reads_its_script(env: dict[str, str]) -> None:
    code = "autoload -U compinit; compinit -u -D; source <(accel completion zsh); print $_comps[accel] $_comps[python3]"
    done = subprocess.run(["zsh", "-f", "-c", code], capture_output=True, text=True, check=True, env=env)
    assert done.stdout == "_accel _accel_python\n"


@pytest.mark.parametrize("module", ["accel", "accel.train"])
def test_hydras_flag_hands_over(module: str, env: dict[str, str]) -> None:
    words = ["completion"] if module == "accel" else ["--shell-completion"]
    shells = ["bash", "zsh", "fish"]
    for shell in shells:
        word = shell if module == "accel" else f"install={shell}"
        done = subprocess.run([sys.executable, "-m", module, *words, word], capture_output=True, text=True, check=True, env=env)
        assert done.stdout == (ROOT / f"accel/cli/completion/accel.{shell}").read_text()
