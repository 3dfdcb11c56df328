"""Help, listings and every error of configuration answer without importing torch; Python alone needs no Hydra."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from accel.schema import plugin_registry
from tests.support.drill_length import LONG

PROBE = """
import sys
from {module} import main
sys.argv = {argv!r}
code = main({args})
print(f"code={{code}} torch={{'torch' in sys.modules}} numpy={{'numpy' in sys.modules}}", file=sys.stderr)
"""


def probe(module: str, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Runs the command line in a fresh Python; the last line of stderr says what it imported."""
    text = PROBE.format(module=module, argv=["accel-train", *words], args=list(words))
    env = os.environ | {"COLUMNS": "80", "COMP_LINE": "accel-train task=", "COMP_POINT": "17"}
    return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False, cwd=cwd, env=env)


@pytest.mark.parametrize(
    ("words", "code", "shows"),
    [
        ("--help", 0, "Usage: accel-train [FLAG ...]"), ("--cfg job +plugins=[amp]", 0, "dtype: bfloat16"),
        ("plugins=[ampp]", 2, "'amp'"), ("+plugins=[sgd,adamw]", 2, "both provide Optim"),
        *[("epochs=0", 2, "epochs must be"), ("task.widht=3", 2, "'width'"), ("--hydra-help", 0, "hydra")] * LONG,
        ("device=cpu +plugins=[amp] plugins.amp.dtype=float16", 2, "needs CUDA"),
        ("--info searchpath", 0, "Search path"), ("--multirun plugins=[],[ampp]", 2, "'amp'"), ("--hlep", 2, "'--help'"),
        ("--shell-completion install=bash", 0, "complete"), ("--shell-completion query=bash", 0, "task=digits"),
    ],
)  # fmt: skip
@pytest.mark.slow
def test_the_train_command_answers_without_torch(words: str, code: int, shows: str, tmp_path: Path) -> None:
    done = probe("accel.cli.train_command", *words.split(), cwd=tmp_path)
    assert done.stderr.splitlines()[-1] == f"code={code} torch=False numpy=False", done.stderr
    assert shows in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "shows"),
    [("", "python -m accel.train"), ("plugins", "gradient accumulation"), ("plugins amp", "plugins.amp.dtype=bfloat16")],
)
def test_the_listings_answer_without_torch(words: str, shows: str, tmp_path: Path) -> None:
    done = probe("accel.__main__", cwd=tmp_path) if not words else probe("accel.__main__", *words.split(), cwd=tmp_path)
    assert done.stderr.splitlines()[-1] == "code=0 torch=False numpy=False"
    assert shows in done.stdout


def test_a_misspelt_page_suggests(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "accel", "plugins", "onecycel"], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 2
    assert done.stderr.startswith("accel: error: no plugin is called 'onecycel'; did you mean 'onecycle'?")
    done = subprocess.run([sys.executable, "-m", "accel", "pluggins"], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert "did you mean 'plugins'?" in done.stderr


def test_every_plugin_is_on_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    from accel.cli.plugins_command import main

    assert main([]) == 0
    assert set(plugin_registry.names()) <= {line.split()[0] for line in capsys.readouterr().out.splitlines() if line.strip()}


@pytest.mark.slow
def test_broken_pipe_is_quiet(tmp_path: Path) -> None:
    command = f"{sys.executable} -m accel.train --help | head -1; {sys.executable} -m accel plugins | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 2


@pytest.mark.slow
def test_the_lazy_package_names_every_plugin() -> None:
    import accel.plugins as plugins

    listed = [
        line.split()[-1] for line in Path(plugins.__file__).read_text().splitlines() if line.startswith("    from accel.plugins.")
    ]
    assert sorted(listed) == plugins.__all__, "add the new plugin to the imports for editors in accel/plugins/__init__.py"
    for name in plugins.__all__:
        assert getattr(plugins, name).__name__ == name
    with pytest.raises(AttributeError, match="no plugin 'Ampp'"):
        _ = plugins.Ampp


@pytest.mark.slow
def test_python_alone_needs_no_hydra(tmp_path: Path) -> None:
    code = """
import sys
import torch
from accel import Trainer
from accel.plugins import Clip
x = torch.randn(8, 4)
data = torch.utils.data.TensorDataset(x, x.sum(1, keepdim=True))
loss = lambda model, batch: ((model(batch[0]) - batch[1]) ** 2).mean()
Trainer(torch.nn.Linear(4, 1), data, loss=loss, plugins=[Clip()], watch=()).fit()
assert not {"hydra", "omegaconf", "rich", "matplotlib"} & set(sys.modules), sorted(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


@pytest.mark.slow
def test_every_public_module_is_an_attribute(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/internals/public.md").read_text()
    modules = re.findall(r"^\| `(accel[\w.]*)` \|", page, re.MULTILINE)
    assert len(modules) > 15
    text = (
        "import sys, accel\nassert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
        f"for path in {modules!r}:\n    assert eval(path).__name__ == path, path\n"
        "assert set(dir(accel)) > {'Trainer', 'optim', 'data'}\nprint(accel.optim.LAMB.__name__, hasattr(accel, 'optims'))"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "LAMB False\n"), done.stderr
