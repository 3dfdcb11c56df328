import copy
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from accel import Trainer
from accel.errors import AccelWarning, ConfigError
from accel.parts import Parallel, Part, Run, Watch
from accel.plugins.accumulate import Accumulate
from accel.plugins.adamw import AdamW
from accel.plugins.amp import AMP
from accel.plugins.channels_last import ChannelsLast
from accel.plugins.clip import Clip
from accel.plugins.compile import Compile
from accel.plugins.ema import EMA
from accel.plugins.lamb import LAMB
from accel.plugins.master_weights import MasterWeights
from accel.plugins.onecycle import OneCycle
from accel.plugins.sgd import SGD
from accel.report.result import Result
from accel.tasks.models.gpt import GPT
from accel.tasks.models.resnet import small
from accel.testing import fit_toy
from accel.testing.toy_run import CLASSES, FEATURES, Stop, Toy


class Look(Watch):
    """Keeps the run, and what the weights look like after each update; may stop it."""

    def __init__(self, stop: int = 0) -> None:
        super().__init__()
        self.stop = stop

    def begin(self, run: Run) -> None:
        self.run, self.dtypes = run, {name: param.dtype for name, param in run.unwrapped_model.named_parameters()}

    def after(self, step: int, loss: Tensor) -> None:
        for (name, param), (same, master) in zip(
            self.run.unwrapped_model.named_parameters(), self.run.parts.precision.params, strict=True
        ):
            assert name == same
            assert torch.equal(param, master.to(param.dtype)), "after an update the weight is its master, rounded"
            assert param.grad is None
            assert master.grad is None
            assert param.dtype == self.dtypes[name]
        if step == self.stop:
            raise Stop


def fit(model: nn.Module, data: Any, loss: Any, *plugins: Part, **settings: Any) -> Result:
    return Trainer(model, data, loss=loss, plugins=plugins, watch=(), **{"epochs": 2, "batch_size": 4, **settings}).fit()


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def classify(model: nn.Module, batch: Any) -> Tensor:
    return nn.functional.cross_entropy(model(batch[0]).flatten(0, -2), batch[1].flatten())


def pictures() -> TensorDataset:
    rng = torch.Generator().manual_seed(0)
    return TensorDataset(torch.randn(12, 3, 8, 8, generator=rng), torch.arange(12) % 3)


def text() -> TensorDataset:
    tokens = torch.randint(20, (12, 9), generator=torch.Generator().manual_seed(0))
    return TensorDataset(tokens[:, :-1], tokens[:, 1:])


def untied() -> nn.Module:
    """A transformer of torch's own layers, which has all that attention has: biases, a joint projection, dropout."""
    layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=True)
    return nn.Sequential(nn.Embedding(20, 16), nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(16, 20))


MODELS: dict[str, Any] = {
    "resnet": (lambda: small(num_classes=3, side=8), pictures),
    "gpt": (lambda: GPT(20, 8, layers=2, heads=2, width=16, dropout=0.1), text),
    "torch's transformer": (untied, text),
}
SETS: dict[str, Any] = {
    "plain": list,
    "everything": lambda: [Accumulate(steps=2), Clip(max_norm=0.5), AdamW(), OneCycle(max_lr=0.01), EMA(decay=0.9)],
    "channels_last, lamb": lambda: [ChannelsLast(), LAMB(lr=0.01), EMA(decay=0.5)],
    "unfused": lambda: [SGD(fused=False, lr=0.05), Accumulate(steps=3)],
}


@pytest.mark.filterwarnings("ignore:channels_last has no effect")
@pytest.mark.parametrize("chosen", SETS)
@pytest.mark.parametrize("kind", MODELS)
def test_it_is_amp_to_the_last_bit(kind: str, chosen: str) -> None:
    make, data = MODELS[kind]
    results = []
    for precision in (AMP(), MasterWeights()):
        torch.manual_seed(5)
        results.append(fit(make(), data(), classify, precision, *SETS[chosen](), val=data()))
    amp, masters = results
    assert same(amp.model, masters.model)
    assert amp.loss == masters.loss
    assert amp.history == masters.history, "evaluation is amp's too, with the average where there is one"


def test_float16_is_amp_to_the_last_bit_skipped_updates_included() -> None:
    settings: dict[str, Any] = {"dtype": "float16", "force": True, "init_scale": 256.0, "growth_interval": 3}
    others = [AdamW(), EMA(decay=0.9), Accumulate(steps=2)]
    amp = fit_toy([AMP(**settings), *others], overflow=[2, 9], epochs=3)
    masters = fit_toy([MasterWeights(**settings), *others], overflow=[2, 9], epochs=3)
    assert amp.equals(masters)
    assert int(amp.spy.run.parts.precision.skipped) == int(masters.spy.run.parts.precision.skipped) == 2  # type: ignore[arg-type]


@pytest.mark.parametrize("with_compile", [False, True], ids=["", "compile"])
def test_a_weight_is_its_master_rounded_after_every_update(with_compile: bool) -> None:
    others = [Compile(backend="eager")] if with_compile else []
    look = Look()
    outcome = fit_toy([MasterWeights(), EMA(), LAMB(), Accumulate(steps=2), *others, look], epochs=2)
    assert outcome.equals(fit_toy([AMP(), EMA(), LAMB(), Accumulate(steps=2), *others], epochs=2))


def test_what_is_kept_in_16_bits() -> None:
    class Mine(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(5, 4)
            self.conv, self.norm = nn.Conv1d(4, 4, 1), nn.BatchNorm1d(4)
            self.linear, self.wide = nn.Linear(4, 4), nn.Linear(4, 4).double()
            self.tied = nn.Linear(4, 5, bias=False)
            self.tied.weight = self.embedding.weight
            self.scale = nn.Parameter(torch.ones(4, 4))
            self.register_buffer("table", torch.ones(4))

        def forward(self, x: Tensor) -> Tensor:
            y = self.norm(self.conv(self.embedding(x).transpose(1, 2))).transpose(1, 2) * self.table
            y = y + self.linear(y) @ self.scale
            out: Tensor = self.tied(y + self.wide(y.double()).float())
            return out

    look, model = Look(), Mine()
    tokens = torch.arange(24).reshape(8, 3) % 5
    fit(model, TensorDataset(tokens, tokens), classify, MasterWeights(), SGD(fused=False), look)
    low = {name for name, dtype in look.dtypes.items() if dtype == torch.bfloat16}
    assert low == {"conv.weight", "conv.bias", "linear.weight", "linear.bias"}
    assert look.dtypes["wide.weight"] == torch.float64
    assert model.norm.running_mean.dtype == model.table.dtype == torch.float32  # type: ignore[union-attr]
    assert "40 numbers in 4 weights" in look.run.plan.facts["16-bit weights"]
    assert {param.dtype for param in model.parameters()} == {torch.float32, torch.float64}, "and handed back as they came"


def test_a_frozen_weight_comes_back_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(FEATURES, 8), nn.ReLU(), nn.Linear(8, CLASSES))
    model[0].requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    look, data = Watching(), Toy().data("train")
    fit(model, data, classify, MasterWeights(), AdamW(), look)
    assert look.seen == {torch.bfloat16}, "frozen ones are rounded once too"
    assert all(torch.equal(before[f"0.{name}"], model.state_dict()[f"0.{name}"]) for name in ("weight", "bias"))
    assert not torch.equal(before["2.weight"], model[2].weight)


class Watching(Watch):
    """Collects the formats of all weights during the run."""

    def begin(self, run: Run) -> None:
        self.run, self.seen = run, set[torch.dtype]()

    def after(self, step: int, loss: Tensor) -> None:
        self.seen |= {param.dtype for param in self.run.unwrapped_model.parameters()}


def test_the_result_and_its_file_are_the_masters(tmp_path: Path) -> None:
    out = tmp_path / "run"
    outcome = fit_toy([MasterWeights(), EMA(decay=0.9)], out=out)
    masters = dict(outcome.spy.run.parts.precision.params)
    assert {tensor.dtype for tensor in load_file(out / "model.safetensors").values()} == {torch.float32}
    average = outcome.spy.run.parts.average.average  # type: ignore[attr-defined]
    for (name, tensor), mean in zip(masters.items(), average, strict=True):
        assert torch.equal(load_file(out / "model.safetensors")[name], mean)
        assert torch.equal(tensor, mean)


@pytest.mark.parametrize("average", [[], [EMA(decay=0.9)]], ids=["", "ema"])
def test_a_model_in_16_bits_gets_masters_for_all_and_stays_one(average: list[Part]) -> None:
    net = Toy(dropout=0.0).model().bfloat16()
    look = Look()
    fit(net, Toy().data("train"), classify, MasterWeights(), SGD(lr=1e-4), *average, look, epochs=3)
    assert {param.dtype for param in net.parameters()} == {torch.bfloat16}
    params = look.run.parts.precision.params
    assert {master.dtype for _, master in params} == {torch.float32}
    ends = average[0].average if average else [master for _, master in params]  # type: ignore[attr-defined]
    assert all(torch.equal(param, end.bfloat16()) for param, end in zip(net.parameters(), ends, strict=True))


@pytest.mark.parametrize("error", [Stop, ConfigError])
def test_an_error_leaves_a_model_without_hooks_in_its_own_format(error: type[Exception]) -> None:
    calls = []

    def loss(model: nn.Module, batch: Any) -> Tensor:
        calls.append({param.dtype for param in model.parameters()})
        if len(calls) == 3:
            raise error
        return classify(model, batch)

    model = nn.Linear(FEATURES, CLASSES)
    with suppress(error):
        fit(model, Toy().data("train"), loss, MasterWeights())
    assert calls == [{torch.bfloat16}] * 3
    assert {param.dtype for param in model.parameters()} == {torch.float32}
    model(torch.ones(2, FEATURES)).sum().backward()
    assert all(param.grad is not None for param in model.parameters()), "the hook would have taken it"


def test_it_resumes_to_the_same_bits_after_any_update(tmp_path: Path) -> None:
    plugins = lambda: [MasterWeights(), AdamW(), EMA(), Accumulate(steps=2)]  # noqa: E731
    whole = fit_toy(plugins(), epochs=2)
    fit_toy(plugins(), epochs=2, out=tmp_path / "run", checkpoint_every=1, stop=5)
    rest = fit_toy(plugins(), epochs=2, resume=tmp_path / "run")
    assert len(rest.losses) == 2
    assert all(torch.equal(a, b) for a, b in zip(whole.spy.states[-1], rest.spy.states[-1], strict=True))
    assert all(torch.equal(a, b) for a, b in zip(whole.weights, rest.weights, strict=True))


@pytest.mark.slow
def test_16_bit_weights_alone_stall_and_with_masters_follow_float32() -> None:
    """What it is for: an update below half a step of the format vanishes, unless someone keeps it."""
    points = torch.randn(256, FEATURES, generator=torch.Generator().manual_seed(1))
    data = TensorDataset(points, (points @ torch.ones(FEATURES) > 0).long())

    def learnt(dtype: torch.dtype, *plugins: Part) -> float:
        """How far the loss falls in 960 updates of plain SGD."""

        def loss(model: nn.Module, batch: Any) -> Tensor:
            return classify(model, (batch[0].to(dtype), batch[1])).float()

        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(FEATURES, 32), nn.ReLU(), nn.Linear(32, CLASSES)).to(dtype)
        before = loss(model, data.tensors).item()
        with pytest.warns(AccelWarning, match="16 bits") if dtype == torch.bfloat16 and not plugins else nullcontext():
            fit(model, data, loss, SGD(lr=2e-4, momentum=0.0), *plugins, batch_size=16, epochs=60)
        return before - loss(model, data.tensors).item()

    full, alone = learnt(torch.float32), learnt(torch.bfloat16)
    assert full > 0.05, "there is something to learn"
    assert alone < 0.3 * full, "alone they stay where they were"
    assert abs(learnt(torch.float32, MasterWeights()) - full) < 0.03 * full
    assert abs(learnt(torch.bfloat16, MasterWeights()) - full) < 0.1 * full, "a model in 16 bits is rescued too"


def test_it_refuses_what_reads_gradients_in_the_model() -> None:
    class Ranks(Parallel):
        pass

    for plugins in ([MasterWeights(), Ranks()], [Ranks(), MasterWeights()]):
        with pytest.raises(ConfigError, match=r"plugins master_weights and ranks cannot work together: .* use amp instead"):
            fit_toy(plugins)


def test_what_has_no_effect_is_said() -> None:
    with pytest.warns(AccelWarning, match=r"master_weights does what amp does: the model has no linear layer"):
        fit(nn.LayerNorm(FEATURES), Toy().data("train"), classify, MasterWeights())
    with pytest.warns(AccelWarning, match=r"master_weights.init_scale has no effect with master_weights.dtype=bfloat16"):
        fit_toy([MasterWeights(init_scale=8.0)])


def test_float16_on_a_cpu_is_refused_with_the_way_out() -> None:
    with pytest.raises(ConfigError, match=r"^master_weights: dtype=float16 needs CUDA.* use plugins.master_weights.dtype="):
        fit_toy([MasterWeights(dtype="float16")])
