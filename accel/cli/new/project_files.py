"""The files of a new project, by their paths: a task that trains at once, its configs and its test."""

from __future__ import annotations

from string import Template

__all__ = ["FILES", "class_name", "project_files"]

TASK = '''"""The task $name: model, data, loss and metrics. Put your own in their place."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from accel import Trainer


class $Name(Trainer):
    """Points of two rings, told apart.

    Args:
        width: of the hidden layer; `task.width=64` on the command line.
        noise: standard deviation of the points' distance from their ring.
    """

    def __init__(self, width: int = 32, noise: float = 0.1, **run: Any) -> None:
        super().__init__(**run)
        self.width, self.noise = width, noise

    def model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(2, self.width), nn.ReLU(), nn.Linear(self.width, 2))

    def data(self, split: str) -> TensorDataset:
        generator = torch.Generator().manual_seed(0 if split == "train" else 1)
        labels = torch.arange(512 if split == "train" else 128) % 2
        angles = 6.2832 * torch.rand(len(labels), generator=generator)
        radii = 1 + labels + self.noise * torch.randn(len(labels), generator=generator)
        return TensorDataset(torch.stack([radii * angles.cos(), radii * angles.sin()], dim=1), labels)

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        points, labels = batch
        return nn.functional.cross_entropy(model(points), labels)

    def metrics(self, model: nn.Module, batch: Any) -> dict[str, Tensor]:
        points, labels = batch
        scores = model(points)
        accuracy = (scores.argmax(1) == labels).float().mean()
        return {"loss": nn.functional.cross_entropy(scores, labels), "accuracy": accuracy}
'''
TASK_CONFIG = """# @package task
_target_: $name.$Name
width: 32  # of the hidden layer
noise: 0.1  # standard deviation of the points' distance from their ring
"""
EXPERIMENT = """# @package _global_
# The first recipe: a task, plugins and settings in one file.
defaults:
  - /plugins: [usual]

epochs: 20
checkpoint:
  best: accuracy
plugins:
  onecycle:
    max_lr: 0.03
"""
BUNDLE = """# @package _global_
# usual: the plugins that every run of this project has.
defaults:
  - /plugins: [adamw, onecycle]
"""
SEARCH = """# @package _global_
# A search by Optuna: pip install 'accel-train[optuna]'.
defaults:
  - override /hydra/sweeper: optuna

hydra:
  sweeper:
    n_trials: 20
    params:
      plugins.onecycle.max_lr: tag(log, interval(0.001, 0.3))
      task.width: choice(8, 32, 128)
"""
TEST = '''"""The task trains: its loss falls, and it tells most points right."""

from __future__ import annotations

from pathlib import Path

import accel

CONF = Path(__file__).parents[1] / "conf"


def test_the_first_experiment_learns(tmp_path: Path) -> None:
    words = ["task=$name", "+experiment=first", "epochs=5", "device=cpu"]
    result = accel.compose(words, config_dir=str(CONF)).trainer(out=tmp_path / "run", watch=()).fit()
    assert result.metrics["accuracy"] > 0.8
'''
README = """# $name

```
python -m accel.train --config-dir conf task=$name +experiment=first
python -m accel.train --config-dir conf task=$name +experiment=first task.width=64 '+plugins=[amp]'
python -m accel.train --config-dir conf task=$name +experiment=first --multirun seed=0,1,2
python -m accel.train --config-dir conf task=$name +experiment=first hparams_search=rate --multirun
python -m pytest
```

| path | holds |
|---|---|
| `$name.py` | the task: model, data, loss, metrics |
| `conf/task/` | settings of tasks, `task=NAME` |
| `conf/experiment/` | recipes, `+experiment=NAME` |
| `conf/plugins/` | bundles of plugins, and plugins of your own, `+plugins=[NAME]` |
| `conf/hparams_search/` | what a sweep searches, `hparams_search=NAME` |
| `tests/` | the test of the task |
| `outputs/` | the runs |
"""
CONFTEST = '''"""The tests find the task beside this file."""
'''
FILES = {
    "$name.py": TASK,
    "conf/task/$name.yaml": TASK_CONFIG,
    "conf/experiment/first.yaml": EXPERIMENT,
    "conf/plugins/usual.yaml": BUNDLE,
    "conf/hparams_search/rate.yaml": SEARCH,
    "tests/test_$name.py": TEST,
    "conftest.py": CONFTEST,
    "README.md": README,
    ".gitignore": "outputs/\n",
}
"""The content of each file, by its path, both with places for the name."""


def class_name(name: str) -> str:
    """Return the name of the task's class: `TwoRings` for `two_rings`."""
    return "".join(word[:1].upper() + word[1:] for word in name.split("_"))


def project_files(name: str) -> dict[str, str]:
    """Return the content of each file of a project, by its path in the project.

    Args:
        name: of the project, of its module and of its task: an identifier.
    """
    words = {"name": name, "Name": class_name(name)}
    return {Template(path).substitute(words): Template(text).substitute(words) for path, text in FILES.items()}
