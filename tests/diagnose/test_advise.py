"""`accel.advise`: what it finds in real models, that it leaves them as they were to the bit, and how it draws itself."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import accel
from accel import ConfigError
from accel.diagnose import advise as advising
from accel.diagnose.advice import Advice
from accel.diagnose.advise import advise, advise_run
from accel.diagnose.ceilings.machine_ceilings import MachineCeilings
from accel.diagnose.findings.all_rules import all_findings
from accel.diagnose.roofline_plot import svg_text
from accel.testing.toy_run import Toy

CEILINGS = MachineCeilings("a machine", 1, {"float32": 1e11}, {1 << 16: 5e10, 1 << 27: 2e10}, 1e-6)


@pytest.fixture(autouse=True)
def known_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(advising, "kept_ceilings", lambda device, dtypes: (CEILINGS, "given"))


def quick(model: nn.Module, batch: Any, loss: Any = None) -> Advice:
    return advise(model, batch, loss, seconds=0.001)


class Net(nn.Module):
    """What a model should not be: a bias before a normalisation, odd channels, a number read on the host, a layer nobody uses."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.drop = nn.Conv2d(3, 20, 3), nn.BatchNorm2d(20), nn.Dropout(0.5)
        self.wide = nn.Conv2d(20, 32, 3)
        self.head, self.old = nn.Linear(32, 5), nn.Linear(7, 7)
        self.scale = nn.Parameter(torch.ones(5))
        self.register_buffer("steps", torch.zeros(()))
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.steps += 1
        x.mul_(0.5)
        x = self.drop(F.relu(self.norm(self.conv(x))))
        if x.max() > 1e9:
            x = x / 2
        x = self.head(self.wide(x).mean((2, 3)))
        weights = torch.tensor(np.ones(5, np.float32))
        return x * weights * self.scale.detach()


def test_what_is_wrong_is_named_with_its_line() -> None:
    advice = quick(Net(), torch.randn(4, 3, 12, 12))
    findings = {one.name: one for one in advice.findings}
    assert findings["bias_before_norm"].layers == ("conv",)
    assert "foldable_norms" not in findings, "it trains"
    odd = next(one for one in all_findings(advice.table) if one.name == "channel_multiples")
    assert {"conv", "wide"} >= set(odd.layers) >= {"wide"}
    assert "old.weight, old.bias" in findings["unused_parameters"].evidence
    assert "scale" in findings["without_gradient"].evidence
    assert "test_advise.py" in findings["host_reads"].evidence
    assert "if x.max() > 1e9:" in findings["host_reads"].change
    assert "weights = torch.tensor(np.ones(5" in findings["array_copies"].change


def layout(norm: nn.Module) -> nn.Module:
    """Channels last for a normalisation and back, as ConvNeXt has it."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(16, 16, 1), norm

        def forward(self, x: Tensor) -> Tensor:
            x = self.norm(self.conv(x).permute(0, 2, 3, 1).contiguous())
            return x.permute(0, 3, 1, 2).contiguous()

    return Block()


class Projections(nn.Module):
    """Queries, keys and values by a layer each."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(16, 16, bias=False) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(self.q(x), self.k(x), self.v(x))


@pytest.mark.parametrize(
    ("model", "batch", "name", "layers"),
    [
        (lambda: layout(nn.LayerNorm(16)), torch.randn(4, 16, 32, 32), "layout_changes", ("",)),
        (Projections, torch.randn(2, 8, 16), "joinable_layers", ("q", "k", "v")),
        (
            lambda: nn.Sequential(nn.Conv2d(64, 64, 5, groups=64), nn.Conv2d(64, 64, 1)),
            torch.randn(4, 64, 24, 24),
            "depthwise",
            ("0",),
        ),
        (lambda: nn.Sequential(nn.Conv2d(8, 256, 1), nn.ReLU()), torch.randn(4, 8, 24, 24), "unequal_channels", ("0",)),
        (lambda: nn.Sequential(nn.Conv2d(64, 64, 1, groups=4)), torch.randn(4, 64, 24, 24), "group_convolutions", ("0",)),
        (lambda: nn.Sequential(*(nn.GELU() for _ in range(10)), nn.Linear(64, 1)), torch.randn(4096, 64), "element_wise", None),
    ],
)
def test_models_that_others_write(model: Callable[[], nn.Module], batch: Tensor, name: str, layers: tuple[str, ...] | None) -> None:
    found = all_findings(quick(model(), batch).table)  # whatever a trial of half a millisecond says of their gain
    finding = next(one for one in found if one.name == name)
    assert layers is None or finding.layers == layers


def test_everything_is_as_it_was() -> None:
    model, batch = Net(), torch.randn(4, 3, 12, 12)
    model.head.eval()
    model.wide.weight.requires_grad_(False)
    model.conv.weight.grad = torch.full_like(model.conv.weight, 3.0)
    gradient = model.conv.weight.grad
    calls: list[int] = []
    hook = model.register_forward_hook(lambda *args: calls.append(1))
    state = {name: value.clone() for name, value in model.state_dict().items()}
    drawn = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    modes, given = [module.training for module in model.modules()], batch.clone()
    before = {name: id(tensor) for name, tensor in [*model.named_parameters(), *model.named_buffers()]}
    quick(model, batch)
    assert {name: id(tensor) for name, tensor in [*model.named_parameters(), *model.named_buffers()]} == before
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert model.conv.weight.grad is gradient
    assert (gradient == 3).all()
    assert [name for name, param in model.named_parameters() if param.grad is not None] == ["conv.weight"]
    assert modes == [module.training for module in model.modules()]
    assert model.calls == 0
    assert not model.wide.weight.requires_grad
    assert torch.equal(batch, given)
    assert (torch.get_rng_state() == drawn[0]).all()
    assert (np.random.get_state()[1].tolist(), random.getstate()) == drawn[1:]
    assert list(model._forward_hooks) == [hook.id]
    assert not nn.modules.module._global_forward_hooks
    assert not nn.modules.module._global_forward_pre_hooks


def test_an_error_of_the_model_leaves_no_hooks() -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ZeroDivisionError("the model's own")

    with pytest.raises(ZeroDivisionError):
        quick(Broken(), torch.ones(2))
    assert not nn.modules.module._global_forward_hooks
    assert not nn.modules.module._global_forward_pre_hooks


def test_a_model_in_evaluation_is_not_trained() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).eval()
    advice = quick(model, torch.randn(8, 4))
    assert not advice.table.trains
    assert not any(one.backward for one in advice.table.operations)
    assert "forward," in str(advice)
    assert not model.training


@pytest.mark.parametrize(
    "batch", [{"x": torch.randn(2, 4)}, (torch.randn(2, 4),), torch.randn(2, 4)], ids=["dict", "tuple", "tensor"]
)
def test_a_batch_is_what_forward_takes(batch: Any) -> None:
    class One(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)

    assert [layer.path for layer in quick(One(4, 4), batch).layers] == [""]


def test_a_compiled_model_is_seen_as_it_is_written() -> None:
    model = nn.Sequential(nn.Linear(4, 3))
    assert [layer.path for layer in quick(torch.compile(model, backend="eager"), torch.randn(2, 4)).layers] == ["0"]


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_gradients_are_seen_where_the_caller_wants_none(context: Callable[[], Any]) -> None:
    model = nn.Sequential(nn.Linear(4, 3))
    with context():
        advice = quick(model, torch.randn(2, 4))
        assert torch.is_grad_enabled() is False
    assert any(one.backward for one in advice.table.operations)
    assert model[0].weight.grad is None


def test_a_loss_is_outside_of_the_model() -> None:
    def loss(model: nn.Module, batch: Any) -> Tensor:
        return F.cross_entropy(model(batch[0]), batch[1])

    advice = quick(nn.Sequential(nn.Linear(4, 3)), (torch.randn(2, 4), torch.tensor([0, 2])), loss)
    assert {one.layer for one in advice.table.operations} == {None, "0"}
    assert all(one.flops == 0 for one in advice.table.operations if one.layer is None)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((len, torch.ones(2)), "model must be a torch.nn.Module, not builtin_function_or_method"),
        ((nn.LazyLinear(3), torch.ones(2, 2)), "lazy parameters"),
        ((nn.Linear(2, 2), [1, 2]), "batch must hold a tensor"),
        ((nn.Linear(2, 2), (torch.ones(2, 2), torch.ones(2))), "the model does not take this batch"),
        ((nn.Linear(2, 2), torch.ones(2, 2), lambda model, batch: batch.sum()), "no trained weight has a part in it"),
        ((nn.Linear(2, 2).eval(), torch.ones(2, 2), lambda model, batch: batch.sum()), "no operator ran in the model"),
    ],
)
def test_what_cannot_work_is_one_sentence(arguments: tuple[Any, ...], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as error:
        quick(*arguments)
    assert "\n" not in str(error.value)


def test_seconds_are_positive() -> None:
    with pytest.raises(ConfigError, match="seconds"):
        advise(nn.Linear(2, 2), torch.ones(2, 2), seconds=0)


@pytest.mark.parametrize(
    "ask", [lambda: quick(nn.Linear(2, 2), torch.ones(2, 2)), lambda: advise_run(Toy(watch=()), seconds=0.001)]
)
def test_one_of_several_processes_is_refused(ask: Callable[[], Advice], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match=r"^advise measures one process, and 2 were started; start it without torchrun$"):
        ask()


@pytest.mark.draws
@pytest.mark.slow
def test_it_draws_itself(tmp_path: Path) -> None:
    model = nn.Sequential(*(nn.Sequential(nn.Linear(16, 16), nn.ReLU()) for _ in range(3)))
    advice = quick(model, torch.randn(8, 16))
    text = str(advice)
    assert "*.0" in text, "equal layers are one row"
    assert "FLOPs by torch.utils.flop_counter" in text
    assert max(map(len, text.splitlines())) <= 120
    document = json.loads(json.dumps(advice.to_dict(), allow_nan=False))
    assert (document["schema"], document["kind"]) == (1, "advice")
    assert [layer["path"] for layer in document["layers"]] == [layer.path for layer in advice.layers]
    assert sum(layer["flops"] for layer in document["layers"]) == document["pass"]["flops"]
    advice.draw(tmp_path / "a.svg")
    advice.draw(tmp_path / "b.svg")
    picture = (tmp_path / "a.svg").read_bytes()
    assert picture == (tmp_path / "b.svg").read_bytes()
    assert b"bound by" in picture
    assert svg_text(advice) in advice._repr_html_()


@pytest.mark.draws
def test_a_model_without_products_has_a_picture(tmp_path: Path) -> None:
    quick(nn.Sequential(nn.ReLU()), torch.randn(8, 16)).draw(tmp_path / "a.svg")
    assert (tmp_path / "a.svg").stat().st_size > 1000


def test_the_model_of_a_run_is_seen_in_its_number_format() -> None:
    state = torch.get_rng_state()
    advice = advise_run(Toy(plugins=["amp"], watch=()), seconds=0.001)
    assert {layer.dtype for layer in advice.layers if layer.flops} == {"bfloat16"}
    assert all(one.weight for one in advice.table.forward if one.flops), "a weight that was cast is known by its name"
    assert advice.table.plugins == {"amp"}, "and no plainest part, such as that of compile, which is not on"
    assert "compile is on" not in str(advice)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("inference", [False, True])
def test_a_model_that_a_trainer_was_given_is_as_it_was(inference: bool) -> None:
    model = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 3))
    model[2].eval()
    model[0].weight.grad = torch.ones(4, 6)
    state, gradient = {name: value.clone() for name, value in model.state_dict().items()}, model[0].weight.grad
    data = [(torch.randn(8, 6), torch.zeros(8, dtype=torch.int64))] * 2
    trainer = accel.Trainer(model, data, loss=lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]), watch=())
    advice = advise_run(trainer, inference=inference, seconds=0.001)
    assert advice.table.trains is not inference
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert [module.training for module in model] == [True, True, False, True]
    assert model[0].weight.grad is gradient
    assert (gradient == 1).all()


def test_it_is_public() -> None:
    assert accel.advise is advise
