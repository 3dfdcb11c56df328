"""The weights of any checkpoint, of the best and of the last, are those that were evaluated, bit for bit."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from accel.checkpoints import FOLDER
from accel.checkpoints.retention import names
from accel.checkpoints.weights import BEST
from accel.checkpoints.weights.find_weights import WEIGHTS, find_weights, run_directory_of
from accel.engine.loading.load import load
from accel.errors import ConfigError
from accel.parts import Average
from accel.plugins import EMA, SGD, AdamW
from accel.plugins import Average as Snapshots
from accel.trainer import Trainer
from tests.checkpoints.weights.test_best_weights import DATA, PLUGINS, Tied, X, fit, measure

pytestmark = pytest.mark.filterwarnings(
    "ignore:schedule_free. the running statistics of BatchNorm", "ignore:master_weights. this CPU has no bfloat16"
)


def same(one: nn.Module, state: dict[str, torch.Tensor]) -> bool:
    """Whether a model has the weights of a file, in which tied ones stand once."""
    own = one.state_dict()
    return all(torch.equal(own[name], value) and own[name].dtype == value.dtype for name, value in state.items())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with an average, whose best epoch is not its last."""
    path = tmp_path_factory.mktemp("saved") / "run"
    result = fit(path, [SGD(lr=1.5), EMA(decay=0.8)], epochs=5)
    assert result.best is not None
    assert result.best.epoch < 5
    return path


PLUGINS = {**PLUGINS, "snapshots": lambda: [SGD(lr=1.5), Snapshots(last=2)]}


@pytest.mark.parametrize("plugins", PLUGINS)
def test_those_of_a_checkpoint_are_computed_from_its_state(plugins: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    fit(out, PLUGINS[plugins](), epochs=2, best="min:loss", checkpoint_keep=9)
    last, best = load_file(out / WEIGHTS), load_file(out / BEST)
    of_best = find_weights(out, "best").checkpoint
    assert of_best is not None
    model = load(of_best.file, model=Tied())
    assert same(model, best)
    newest = out / FOLDER / f"{names(out / FOLDER)[-1]}.pt"
    assert same(load(newest, model=Tied()), last)
    (out / WEIGHTS).unlink()
    assert same(load(out, "last", model=Tied()), last), "a run that was killed before its end"
    assert not model.training
    assert model.second.weight is model.first.weight, "tied weights stay tied"
    with torch.no_grad():
        values = {name: value.item() for name, value in measure(model, (X, DATA.tensors[1])).items()}
    assert values["loss"] == pytest.approx(of_best.manifest.metrics["loss"], abs=2e-2 if "masters" in plugins else 1e-5)


def test_the_best_is_taken_and_the_last_where_it_is_asked_for(run: Path) -> None:
    assert same(load(run, model=Tied()), load_file(run / BEST))
    assert same(load(run, "last", model=Tied()), load_file(run / WEIGHTS))
    assert same(load(run / FOLDER, "last", model=Tied()), load_file(run / WEIGHTS))
    assert same(load(run / WEIGHTS, model=Tied()), load_file(run / WEIGHTS))
    assert run_directory_of(run / FOLDER / "update-1.pt") == run_directory_of(run / BEST) == run_directory_of(run) == run


def test_a_newer_checkpoint_goes_before_the_weights_of_an_earlier_end(run: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(run, tmp_path / "run"))
    whole = fit(out, [SGD(lr=1.5), EMA(decay=0.8)], epochs=6, resume="auto")
    shutil.copy(run / WEIGHTS, out / WEIGHTS)  # as if it had been killed
    assert find_weights(out, "last").is_checkpoint
    assert same(load(out, "last", model=Tied()), whole.model.state_dict())


def test_a_model_that_is_given_keeps_its_flags_and_may_be_frozen(run: Path) -> None:
    newest = run / FOLDER / f"{names(run / FOLDER)[-1]}.pt"
    model = load(newest, model=Tied().requires_grad_(False))
    assert same(model, load_file(run / WEIGHTS))
    assert not any(param.requires_grad for param in model.parameters())
    partly = Tied()
    partly.head.requires_grad_(False)
    with pytest.raises(ConfigError, match="ema had other parameters than the model has"):
        load(newest, model=partly)


@pytest.mark.parametrize(
    ("path", "which", "sentence"),
    [
        ("rum", None, "did you mean '.*run'"), (".", None, "is no run directory"),
        ("run", "bset", "no such weights; did you mean 'best'"),
        ("run", "update-1", "there is best, last, update-"), ("run/plan.json", None, "no file of weights"),
        ("run/model.safetensors", "best", "weights=best has no effect"),
    ],
)  # fmt: skip
def test_what_is_not_there_gets_a_sentence(path: str, which: str | None, sentence: str, run: Path) -> None:
    with pytest.raises(ConfigError, match=sentence):
        find_weights(run.parent / path, which)


def test_without_a_best_one_it_says_how_to_keep_it(tmp_path: Path) -> None:
    fit(tmp_path / "run", [], epochs=1, best=None)
    with pytest.raises(ConfigError, match=r"keeps no best weights; take weights=last, or train with checkpoint.best=METRIC"):
        find_weights(tmp_path / "run", "best")


def test_damage_is_passed_over_or_told(run: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(run, tmp_path / "run"))
    newest = out / FOLDER / f"{names(out / FOLDER)[-1]}.pt"
    newest.write_bytes(newest.read_bytes()[:-7])
    assert same(load(out, "last", model=Tied()), load_file(run / WEIGHTS)), "the file of weights is whole"
    with pytest.raises(ConfigError, match=r"the checkpoint is damaged \(.*; there is update-"):
        load(newest, model=Tied())
    (out / WEIGHTS).unlink()
    assert find_weights(out, "last").text.startswith("last of update-"), "the newest that is whole"
    (out / BEST).write_bytes(b"no weights")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(out, "best", model=Tied())


class Own(Average):
    """An average of the user's own, which no registry knows."""

    def weights(self, model: nn.Module) -> Any:
        return super().weights(model)

    def state_dict(self) -> dict[str, Any]:
        return {"kept": torch.ones(1)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


def test_an_average_that_is_not_installed_is_refused_and_not_left_out(tmp_path: Path) -> None:
    fit(tmp_path / "run", [AdamW(), Own()], epochs=1, best=None)
    (newest,) = (tmp_path / "run" / FOLDER).glob("*.pt")
    with pytest.raises(ConfigError, match=r"had the plugin own, which is not installed here, .* name a .safetensors file"):
        load(newest, model=Tied())
    assert same(load(tmp_path / "run", model=Tied()), load_file(tmp_path / "run" / WEIGHTS))


def test_weights_of_another_model_are_named(run: Path) -> None:
    class Wider(Tied):
        def __init__(self) -> None:
            super().__init__()
            self.head, self.more = nn.Linear(6, 3), nn.Linear(1, 1)

    with pytest.raises(ConfigError, match=r"without more.weight, more.bias; another shape of head.weight \(\(2, 6\) in the file"):
        load(run, model=Wider())
    with pytest.raises(ConfigError, match="the checkpoint is of another model"):
        load(run / FOLDER / f"{names(run / FOLDER)[-1]}.pt", model=Wider())
    with pytest.raises(ConfigError, match="the model is without"):
        load(run, model=nn.Linear(6, 2))


class Remembers(nn.Module):
    """What is in no file of weights: a buffer that is not persistent, one that grows, an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.calls = nn.Linear(6, 2), 0
        self.register_buffer("mean", torch.zeros(6), persistent=False)
        self.register_buffer("bank", torch.zeros(0, 6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.calls += 1
            self.mean.lerp_(x.mean(0), 0.1)
            self.bank = torch.cat([self.bank, x[:1].detach()])
        out: torch.Tensor = self.layer(x - self.mean) + self.bank.mean() / self.calls
        return out


@pytest.mark.parametrize("file", ["run", "model.safetensors", "checkpoint"])
def test_what_no_file_of_weights_has_comes_back_too(file: str, tmp_path: Path) -> None:
    path = tmp_path / "run"
    result = Trainer(
        Remembers(), DATA, loss=lambda m, b: nn.functional.cross_entropy(m(b[0]), b[1]), out=path, device="cpu", watch=()
    ).fit()  # fmt: skip
    path = {"run": path, "model.safetensors": path / WEIGHTS, "checkpoint": next((path / FOLDER).glob("*.pt"))}[file]
    model: Any = load(path, model=Remembers())
    with torch.no_grad():
        assert torch.equal(model(X), result.model.eval()(X))
    assert model.calls == 2
