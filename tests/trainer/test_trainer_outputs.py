"""The Python interface: what a run gives and writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from accel import Trainer
from accel.errors import AccelWarning, ConfigError
from accel.plugins.adamw import AdamW
from tests.support.stream_datasets import POINTS, Stream, fit, loss


def test_nothing_is_written_without_out_nor_in_a_dry_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fit([POINTS])
    result = fit([POINTS] * 5, dry_run=True, out=tmp_path / "run")
    assert (result.updates, result.dry) == (1, True)
    assert list(tmp_path.iterdir()) == []


def test_a_refusal_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        fit([POINTS], plugins=["onecycle", "cosine"], out=tmp_path / "run")
    with pytest.raises(ConfigError):
        fit(Stream(), plugins=["onecycle"], out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_error_of_the_user_reaches_the_user_and_closes_everything() -> None:
    closed = []

    class Loud(AdamW):
        pass

    from accel.parts import Watch

    class Closing(Watch):
        def close(self) -> None:
            closed.append(True)

    def broken(model: nn.Module, batch: Any) -> Tensor:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        Trainer(nn.Linear(2, 1), [POINTS], loss=broken, plugins=[Loud(), Closing()], watch=()).fit()
    assert closed == [True]


@pytest.mark.filterwarnings("ignore:data is a list")
def test_shares_of_time_add_up() -> None:
    result = fit([POINTS] * 3)
    assert sum(result.shares.values()) == pytest.approx(100.0)
    assert result.seconds > 0


def test_the_final_weights_are_written_as_safetensors(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    result = fit([POINTS], out=tmp_path / "run")
    assert torch.equal(load_file(tmp_path / "run/model.safetensors")["weight"], result.model.weight)
    assert {"plan.json", "summary.json", "model.safetensors"} <= set(result.files)


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (lambda x: x.square().mean(1), r"a tensor of shape \(10,\)"),
        (lambda x: 1.0, "a float"),
        (lambda x: (x.mean(),), "a tuple of 1"),
        (lambda x: (x.mean(), 1, {}, 2), "a tuple of 4"),
        (lambda x: None, "None"),
        (lambda x: x.mean() * 1j, "a tensor of torch.complex64"),
    ],
    ids=["vector", "float", "one", "four", "nothing", "complex"],
)
def test_a_loss_that_is_no_scalar_tensor(value: Any, what: str) -> None:
    with pytest.raises(ConfigError, match=rf"loss\(model, batch\) returned {what}; return a scalar tensor"):
        Trainer(nn.Linear(2, 1), [POINTS], loss=lambda model, x: value(model(x)), watch=()).fit()


@pytest.mark.parametrize(
    ("model", "what"),
    [(None, r"model\(\) returned None; return an instance of a torch.nn.Module"),
     (nn.Linear, r"model\(\) returned the class Linear"),
     (nn.Flatten(), "a Flatten, has no parameter to train")],
    ids=["nothing", "class", "no parameters"],
)  # fmt: skip
def test_a_model_that_is_none(model: Any, what: str) -> None:
    class Mine(Trainer):
        def model(self) -> Any:
            return model

    with pytest.raises(ConfigError, match=what):
        Mine(data=[POINTS], loss=loss, watch=()).fit()


def test_a_subclass_that_forgets_its_base() -> None:
    class Mine(Trainer):
        def __init__(self) -> None:
            pass

    with pytest.raises(ConfigError, match=r"Mine.__init__ must call super\(\).__init__\(\*\*run\)"):
        Mine().fit()


def test_checkpoints_without_a_place_warn() -> None:
    with pytest.warns(AccelWarning, match="checkpoint_every has no effect: nothing is written without out=DIR"):
        fit([POINTS], checkpoint_every=5)


@pytest.mark.filterwarnings("ignore:the run ended with weights that are not finite")
def test_the_summary_is_json_whatever_the_numbers_are(tmp_path: Path) -> None:
    def broken(model: nn.Module, batch: Any) -> Tensor:
        return model(batch).mean() * torch.nan

    result = Trainer(nn.Linear(2, 1), [POINTS], [POINTS], broken, out=tmp_path / "run", watch=()).fit()
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert (summary["schema"], summary["loss"], summary["metrics"]) == (1, None, {"loss": None})
    assert summary["files"] == result.files == sorted(str(p.relative_to(result.out)) for p in result.out.rglob("*") if p.is_file())


@pytest.mark.parametrize("out", ["/proc/nothing/here", "a-file", "a-file/below"])
def test_a_directory_that_cannot_be(out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a-file").touch()
    with pytest.raises(ConfigError, match=rf"out={out}: cannot write there .*; name another directory"):
        fit([POINTS], out=out)
    assert [path.name for path in tmp_path.rglob("*")] == ["a-file"]


def test_a_checkpoint_of_another_model(tmp_path: Path) -> None:
    fit([POINTS], out=tmp_path / "run")
    with pytest.raises(ConfigError, match=r"the checkpoint is of another model or optimiser .*size mismatch for weight"):
        Trainer(nn.Linear(2, 3), [POINTS], loss=loss, watch=(), resume=tmp_path / "run").fit()
