"""The Python interface: what goes in, what comes out, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from accel import Trainer
from accel.errors import AccelWarning, ConfigError
from accel.plugins.adamw import AdamW
from accel.plugins.amp import AMP
from accel.plugins.sgd import SGD

POINTS = torch.arange(20.0).reshape(10, 2)


def loss(model: nn.Module, batch: Any) -> Tensor:
    x = batch[0] if isinstance(batch, list | tuple) else batch
    return model(x).square().mean()


def fit(data: Any, **settings: Any) -> Any:
    torch.manual_seed(0)
    return Trainer(nn.Linear(2, 1), data, loss=loss, watch=(), **settings).fit()


class Stream(IterableDataset):  # type: ignore[type-arg]
    epochs: list[int] = []

    def set_epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(POINTS)


class Rows:
    """A map-style data set that is no torch Dataset."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> Tensor:
        return POINTS[index]


class Endless(Dataset[Tensor]):
    def __getitem__(self, index: int) -> Tensor:
        return POINTS[0]


class Once:
    """Says that it can be iterated over, and gives the same iterator each time."""

    def __init__(self) -> None:
        self.iterator = iter([POINTS])

    def __iter__(self) -> Any:
        return self.iterator


class Table(Rows):
    """A data set that can also be iterated, as those of Hugging Face can."""

    def __getitems__(self, indices: list[int]) -> list[Tensor]:
        return [self[index] for index in indices]

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(POINTS)


@pytest.mark.parametrize(
    ("data", "updates"),
    [
        (TensorDataset(POINTS), 3),
        (Rows(), 3),
        (Table(), 3),
        (Stream(), 3),
        (list(POINTS.split(5)), 2),  # type: ignore[no-untyped-call]
        (DataLoader(POINTS, batch_size=2), 5),  # type: ignore[arg-type]
    ],
    ids=["TensorDataset", "map-style", "map-style that iterates", "iterable", "list of batches", "DataLoader"],
)
@pytest.mark.filterwarnings("ignore:batch_size has no effect")
def test_data_of_every_kind(data: Any, updates: int) -> None:
    result = fit(data, batch_size=4, epochs=2)
    assert (result.updates, result.samples, result.epochs) == (2 * updates, 20, 2)


def test_ready_batches_pass_through_untouched() -> None:
    seen = []
    batches = [{"x": torch.ones(2, 2), "name": "a"}, {"x": torch.ones(1, 2), "name": "b"}]

    def look(model: nn.Module, batch: Any) -> Tensor:
        seen.append(batch)
        return model(batch["x"]).mean()

    Trainer(nn.Linear(2, 1), batches, loss=look, watch=()).fit()
    assert [batch is given for batch, given in zip(seen, batches, strict=True)] == [True, True]


def test_batch_size_without_effect_warns() -> None:
    with pytest.warns(AccelWarning, match="batch_size has no effect: the data comes in ready batches"):
        fit([POINTS], batch_size=4)


def test_an_iterable_is_told_the_epoch() -> None:
    Stream.epochs.clear()
    fit(Stream(), epochs=3)
    assert Stream.epochs == [0, 1, 2]


def test_a_subclass_does_the_same() -> None:
    class Mine(Trainer):
        def model(self) -> nn.Module:
            return nn.Linear(2, 1)

        def data(self, split: str) -> Any:
            return TensorDataset(POINTS)

        def loss(self, model: nn.Module, batch: Any) -> Tensor:
            return loss(model, batch)

        def metrics(self, model: nn.Module, batch: Any) -> Any:
            return {"mean": model(batch[0]).mean(), "two": 2.0}

    def make() -> nn.Module:
        torch.manual_seed(5)
        return nn.Linear(2, 1)

    result = Mine(watch=(), seed=5, plugins=[AdamW()]).fit()
    other = Trainer(make(), TensorDataset(POINTS), loss=loss, watch=(), seed=5, plugins=[AdamW()]).fit()
    assert torch.equal(result.model.weight, other.model.weight)
    assert result.metrics["two"] == 2.0
    assert result.history == [{"epoch": 1, **result.metrics}]


def test_metrics_are_weighed_by_items() -> None:
    val = [(torch.ones(1, 2), 1), (torch.full((1, 2), 3.0), 3)]
    result = Trainer(
        nn.Linear(2, 1), [POINTS], val, loss, metrics=lambda model, batch: ({"value": batch[0].mean()}, batch[1]), watch=()
    ).fit()
    assert result.metrics == {"value": 2.5}


def test_evaluation_leaves_mode_and_random_numbers_alone() -> None:
    modes = []

    def look(model: nn.Module, batch: Any) -> Tensor:
        modes.append(model.training)
        return loss(model, batch) + 0 * torch.rand(())

    def run(val: Any) -> Tensor:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(2, 4), nn.Dropout(0.5), nn.Linear(4, 1)).eval()
        return Trainer(model, [POINTS], val, look, epochs=3, watch=()).fit().model[0].weight  # type: ignore[index,return-value]

    assert torch.equal(run(None), run([POINTS, POINTS]))
    assert set(modes) == {True, False}


def test_plugins_by_name() -> None:
    assert torch.equal(fit([POINTS], plugins=["adamw"]).model.weight, fit([POINTS], plugins=[AdamW()]).model.weight)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"plugins": ["adamv"]}, r"no plugin is called 'adamv'; did you mean 'adamw'\?"),
        ({"plugins": [AdamW(), SGD()]}, r"plugins adamw and sgd both provide Optim; keep one: '~plugins.adamw'"),
        ({"plugins": [AdamW]}, r"AdamW is not a plugin: .*; write AdamW\(\)"),
        ({"plugins": [nn.Linear(1, 1)]}, r"Linear is not a plugin"),
        ({"epochs": 0}, r"epochs must be a whole number from 1, not 0"),
        ({"epochs": 1.5}, r"epochs must be a whole number from 1, not 1.5"),
        ({"batch_size": -1}, r"batch_size must be a whole number from 1, or null, not -1"),
        ({"device": "cdua"}, r"device must be auto, cpu, cuda or cuda:N, not 'cdua'; did you mean 'cuda'\?"),
        ({"seed": -1}, r"seed must be a whole number from 0"),
        ({"resume": "auto"}, r"resume=auto needs the run directory to look in"),
    ],
)
def test_what_cannot_work_is_said_in_one_sentence(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as error:
        fit([POINTS], **settings)
    assert "\n" not in str(error.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_device_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match=r"device=cuda: torch finds no CUDA device here; use device=cpu or device=auto"):
        fit([POINTS], device="cuda")


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (iter([POINTS]), "can be read only once, and every epoch reads it anew"),
        ((x for x in [POINTS]), "can be read only once"),
        (3, "data is a int, which is neither a data set nor an iterable of batches"),
        ([], "the training data is empty"),
        (Endless(), "data is a Endless without __len__; say there how many samples it has"),
        (Once(), "epoch 2 found no training data; it must begin anew whenever it is iterated over"),
        (TensorDataset(POINTS[:0]), "the training data is empty"),
        (None, r"Trainer has no data: pass data=\.\.\., or define data\(\) in a subclass"),
    ],
)
def test_data_that_cannot_work(data: Any, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        fit(data, epochs=2)


def test_held_out_data_that_is_empty() -> None:
    with pytest.raises(ConfigError, match="the val data is empty"):
        fit([POINTS], val=TensorDataset(POINTS[:0]))


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
        (lambda x: (x.mean(), 1, 2), "a tuple of 3"),
        (lambda x: None, "None"),
        (lambda x: x.mean() * 1j, "a tensor of torch.complex64"),
    ],
    ids=["vector", "float", "one", "three", "nothing", "complex"],
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


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (lambda x: x.mean().detach(), r"returned a tensor without a gradient: no trained weight has a part in it"),
        (lambda x: (x.mean(), torch.ones(1)), r"returned a tensor of shape \(1,\) for n_items; return a number or a 0-dim tensor"),
    ],
    ids=["detached", "items"],
)
def test_a_loss_that_cannot_be_trained_on(value: Any, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        Trainer(nn.Linear(2, 1), [POINTS], loss=lambda model, x: value(model(x)), watch=()).fit()


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (nn.ReLU, r"model\(\) returned the class ReLU; return an instance of a torch.nn.Module"),
        (lambda: nn.Linear(2, 1), r"model\(\) returned a function; return an instance"),
        (nn.Sequential(nn.LazyLinear(1)), r"the model's 0.weight has no shape yet; call the model once on a batch"),
        (nn.Linear(2, 1, device="meta"), r"the model's weight is on the meta device, without numbers"),
    ],
    ids=["class", "function", "lazy", "meta"],
)
@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
def test_a_model_that_is_none_or_is_not_there_yet(model: Any, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        Trainer(model, [POINTS], loss=loss, watch=()).fit()


@pytest.mark.parametrize(
    ("mode", "sentence"),
    [
        (torch.no_grad, r"inside torch.no_grad\(\) or inference_mode\(\)"),
        (torch.inference_mode, r"inside torch.no_grad\(\) or inference_mode\(\)"),
        (lambda: torch.autocast("cpu", torch.bfloat16), "inside torch.autocast, which keeps the first update's 16-bit weights"),
    ],
)
def test_modes_in_which_nothing_is_trained_right(mode: Any, sentence: str) -> None:
    with mode(), pytest.raises(ConfigError, match=sentence):
        fit([POINTS])


def test_a_gradient_from_before_has_no_part_in_the_run() -> None:
    def train(spoiled: bool) -> Tensor:
        torch.manual_seed(0)
        model = nn.Linear(2, 1)
        if spoiled:
            loss(model, POINTS).backward()
        return Trainer(model, [POINTS], loss=loss, watch=()).fit().model.weight

    assert torch.equal(train(True), train(False))


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (lambda: 1.0, r"metrics\(model, batch\) returned a float; return a dict, or \(dict, n_items\)"),
        (lambda: None, "returned None; return a dict"),
        (lambda: ({"a": 1.0}, 1, 2), "returned a tuple of 3; return a dict"),
        (lambda: {"a": "high"}, "returned a str for 'a'; return a number or a 0-dim tensor"),
        (lambda: {"a": torch.ones(2)}, r"returned a tensor of shape \(2,\) for 'a'"),
        (lambda: {"a": POINTS}, r"returned a tensor of shape \(10, 2\) for 'a'"),
        (lambda: {"a": None}, "returned None for 'a'"),
        (lambda: {"epoch": 1.0}, "returned 'epoch', by which the results are numbered"),
    ],
)
def test_metrics_that_are_none(value: Any, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        fit([POINTS], val=[POINTS], metrics=lambda model, batch: value())


def test_metrics_of_every_kind_of_number() -> None:
    numbers = {"int": 2, "bool": True, "numpy": np.float32(0.5), "tensor": torch.tensor([3]), "double": torch.tensor(0.1).double()}
    result = fit([POINTS], val=[POINTS] * 2, metrics=lambda model, batch: numbers)
    assert result.metrics == {name: float(number) for name, number in numbers.items()}


def test_a_metric_of_some_batches_is_a_mean_over_those() -> None:
    val = [torch.ones(1, 2), torch.zeros(3, 2), torch.ones(2, 2)]
    result = fit([POINTS], val=val, metrics=lambda model, x: {"all": 1.0, **({"some": float(len(x))} if x.any() else {})})
    assert result.metrics == {"all": 1.0, "some": (1 * 1 + 2 * 2) / 3}


@pytest.mark.parametrize("kind", [int, torch.tensor])
def test_a_batch_without_items_has_no_part_in_the_metrics(kind: Any) -> None:
    val = [(torch.nan, kind(0)), (2.0, kind(3))]
    assert fit([POINTS], val=val, metrics=lambda model, batch: ({"value": batch[0]}, batch[1])).metrics == {"value": 2.0}


class Odd(nn.Module):
    """Tied weights, a buffer inside another, a sparse one, an empty one, and a state that is no tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(2, 2), nn.Linear(2, 2)
        self.two.weight = self.one.weight
        self.register_buffer("rows", torch.arange(6.0)[:4])
        self.register_buffer("part", self.get_buffer("rows")[1:3])
        self.register_buffer("sparse", torch.eye(2).to_sparse())
        self.register_buffer("empty", torch.zeros(0))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.two(self.one(x))
        return result

    def get_extra_state(self) -> dict[str, int]:
        return {"version": 1}

    def set_extra_state(self, state: dict[str, int]) -> None:
        assert state == {"version": 1}


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
def test_no_model_is_too_odd_for_the_end_of_its_run(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    with pytest.warns(AccelWarning) as warned:
        result = Trainer(Odd(), [POINTS], loss=loss, watch=(), out=tmp_path / "run").fit()
    assert [str(warning.message).partition(",")[0] for warning in warned] == [
        "model.safetensors is without sparse", "model.safetensors is without _extra_state"
    ]  # fmt: skip
    assert sorted(load_file(result.out / "model.safetensors")) == ["empty", "one.bias", "one.weight", "part", "rows", "two.bias"]
    with pytest.warns(AccelWarning):
        again = Trainer(Odd(), [POINTS], loss=loss, watch=(), resume=tmp_path / "run").fit()
    assert torch.equal(again.model.one.weight, result.model.one.weight)


def test_whatever_torchs_default_device_is(tmp_path: Path) -> None:
    # meta stands for a default of cuda: what is made there by mistake fails
    model = nn.Linear(2, 1)
    torch.set_default_device("meta")
    try:
        result = Trainer(
            model, TensorDataset(POINTS), [POINTS], loss, watch=("metrics",), out=tmp_path / "run", device="cpu", batch_size=3,
            plugins=["adamw", "clip", "ema", "accumulate", AMP(dtype="float16", force=True)],
        ).fit()  # fmt: skip
    finally:
        torch.set_default_device(None)
    assert result.metrics["loss"] > 0


def test_what_the_first_update_refuses_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    for out in ("one", "two/deep/run", "mine/run"):
        with pytest.raises(ConfigError, match="return a scalar tensor"):
            Trainer(nn.Linear(2, 1), [POINTS], loss=lambda model, x: model(x), watch=("metrics",), out=out).fit()
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["mine"]


def test_a_refusal_after_the_first_update_loses_nothing(tmp_path: Path) -> None:
    def late(model: nn.Module, x: Tensor) -> Any:
        return loss(model, x) if len(x) == 10 else 1.0

    with pytest.raises(ConfigError):
        Trainer(nn.Linear(2, 1), [POINTS, POINTS[:3]], loss=late, watch=(), out=tmp_path / "run", checkpoint_every=1).fit()
    assert list((tmp_path / "run/checkpoints").glob("*.pt"))


def test_a_directory_that_was_there_before_stays(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ConfigError):
        Trainer(nn.Linear(2, 1), [POINTS], loss=lambda model, x: model(x), watch=(), out=tmp_path).fit()
    assert (tmp_path / "notes.txt").exists()
