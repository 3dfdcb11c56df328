import shutil
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest
import torch
import torch._dynamo
from torch import Tensor, nn
from torch._dynamo.backends import registry
from torch._dynamo.callback import callback_handler

from accel import Trainer
from accel.engine import compile_time
from accel.errors import AccelWarning, ConfigError
from accel.plugins.compile import Compile
from accel.system.clock import COMPILE
from accel.tasks.models.gpt import GPT
from accel.testing import fit_toy
from accel.testing.toy_run import Toy
from tests.support.drill_length import LONG


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """No graph of an earlier run serves a later one."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture
def backend() -> Iterator[Callable[[Callable[..., Any]], str]]:
    """Makes a function a backend that torch knows, by the name returned."""

    def register(function: Callable[..., Any]) -> str:
        torch._dynamo.register_backend(function, name="mine")
        return "mine"

    yield register
    for table in (registry._BACKENDS, registry._COMPILER_FNS):
        table.pop("mine", None)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["eager", "aot_eager"])
@pytest.mark.parametrize("dynamic", [False, True, None])
@pytest.mark.slow
def test_tracing_alone_leaves_every_bit(name: str, dynamic: bool | None) -> None:
    assert fit_toy([Compile(backend=name, dynamic=dynamic)]).equals(fit_toy([]))


def test_each_shape_is_compiled_once_in_training_and_once_in_evaluation(backend: Any) -> None:
    seen: list[tuple[int, bool]] = []

    def spy(graph: Any, inputs: list[Any]) -> Any:
        seen.append((next(len(x) for x in inputs if x.shape[-1:] == (6,) and x.shape != (16, 6)), torch.is_grad_enabled()))
        return graph

    fit_toy([Compile(backend=backend(spy))], epochs=3)
    assert sorted(seen) == [(2, False), (2, True), (4, False), (4, True)]


def test_a_frozen_layer_is_thawed_in_a_compiled_model() -> None:
    freeze = [{"match": "0.*", "until": 4}]
    assert fit_toy([Compile(backend="eager")], freeze=freeze).equals(fit_toy([], freeze=freeze))


@pytest.mark.skipif(not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="inductor needs a C++ compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.slow
def test_inductor_gives_the_same_to_rounding() -> None:
    """In the suite a model of products alone: each kernel that is written for another costs two seconds of the C++ compiler."""

    class OneShape(Toy):
        def data(self, split: str) -> Any:
            return super().data(split) if split == "train" else None

        def model(self) -> nn.Module:
            return super().model() if LONG else nn.Sequential(nn.Linear(6, 8, bias=False), nn.Linear(8, 3, bias=False))

    def weights(*plugins: Any) -> list[Tensor]:
        return list(OneShape(dropout=0.0, plugins=plugins, watch=(), epochs=3, batch_size=22).fit().model.parameters())

    pairs = zip(weights(Compile()), weights(), strict=True)
    assert max(float((a - b).detach().abs().max()) for a, b in pairs) <= 1e-6


def test_the_model_is_the_users_own_during_the_run_and_after_it(tmp_path: Any) -> None:
    before = torch._dynamo.config.recompile_limit
    run = fit_toy([Compile(backend="eager")], out=tmp_path).spy.run
    assert run.model is run.unwrapped_model
    assert "forward" not in vars(run.unwrapped_model)
    assert list(run.unwrapped_model.state_dict()) == list(Toy().model().state_dict())
    fit_toy([Compile(backend="eager")], stop=2)
    assert torch._dynamo.config.recompile_limit == before, "also after an error"
    assert not callback_handler.start_callbacks
    assert not callback_handler.end_callbacks


def test_compiling_is_booked_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = count(step=1000)
    monkeypatch.setattr(compile_time, "perf_counter", lambda: next(ticks))
    spent = fit_toy([Compile(backend="eager")]).spy.run.clock.spent
    assert spent[COMPILE] == pytest.approx(4 * 1000, abs=500), "four graphs, of which each claims to have taken 1,000 seconds"
    assert sum(spent) == pytest.approx(0, abs=500), "which were taken out of the phases that they fell into"


def test_a_model_that_the_user_has_compiled_is_booked_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = count(step=1000)
    monkeypatch.setattr(compile_time, "perf_counter", lambda: next(ticks))
    model: nn.Module = torch.compile(nn.Linear(2, 1), backend="eager")  # type: ignore[assignment]
    data = torch.utils.data.TensorDataset(torch.ones(8, 2))
    result = Trainer(model=model, data=data, loss=lambda model, batch: model(batch[0]).mean(), watch=()).fit()
    assert result.shares["compile"] > 99
    assert not callback_handler.start_callbacks


def test_a_backend_that_fails_is_named(backend: Any) -> None:
    def broken(graph: Any, inputs: Any) -> Any:
        raise RuntimeError("no such instruction")

    with pytest.raises(ConfigError, match=r"^compile: mine cannot compile the model \(.*no such instruction.*~plugins.compile"):
        fit_toy([Compile(backend=backend(broken))])


def test_an_error_in_the_model_stays_its_own() -> None:
    class Wrong(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise KeyError("mine")

    def loss(model: nn.Module, x: Tensor) -> Tensor:
        return model(x).mean()  # type: ignore[no-any-return]

    net = nn.Sequential(nn.Linear(3, 1), Wrong())
    with pytest.raises(KeyError, match="mine"):
        Trainer(net, [torch.ones(2, 3)], loss=loss, plugins=[Compile(backend="eager")], watch=()).fit()


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"compile.backend=inductr: torch knows .*inductor"):
        fit_toy([Compile(backend="inductr")])


@pytest.mark.filterwarnings("ignore:data is a list")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # torch's, in tracing
def test_regional_compiles_blocks_of_one_kind_once(backend: Any) -> None:
    seen = []

    def spy(graph: Any, inputs: Any) -> Any:
        seen.append(graph)
        return graph

    def fit(*plugins: Any) -> nn.Module:
        torch.manual_seed(0)
        net = GPT(16, context=8, width=8, layers=3, heads=2)
        data = torch.randint(16, (2, 4, 8), generator=torch.Generator().manual_seed(1)).unbind()

        def loss(model: nn.Module, x: Tensor) -> Tensor:
            return nn.functional.cross_entropy(model(x[:, :-1]).flatten(0, 1), x[:, 1:].flatten())

        return Trainer(net, list(data), loss=loss, plugins=plugins, watch=()).fit().model

    actual = fit(Compile(backend=backend(spy), regional=True))
    assert len(seen) == 1, "three blocks share a graph"
    assert all(torch.equal(a, b) for a, b in zip(actual.parameters(), fit().parameters(), strict=True))
    assert not any("forward" in vars(one) for one in actual.modules())


def test_settings_without_effect_warn() -> None:
    with pytest.warns(AccelWarning, match=r"compile.regional=true, and no kind of block comes twice"):
        fit_toy([Compile(backend="eager", regional=True)])
    with pytest.warns(AccelWarning, match=r"compile.mode has no effect with compile.backend=eager"):
        fit_toy([Compile(backend="eager", mode="max-autotune")])
