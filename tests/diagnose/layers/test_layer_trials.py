"""Trials of changes: products computed by themselves, a model in another order in memory, findings that keep what they save."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from accel.diagnose import advise as advising
from accel.diagnose.advise import advise
from accel.diagnose.ceilings.machine_ceilings import MachineCeilings
from accel.diagnose.findings.finding import Finding
from accel.diagnose.layer_trials.memory_order_trial import can_switch, channels_last_weights
from accel.diagnose.layer_trials.product import Product, product_of, product_seconds, runnable
from accel.diagnose.layer_trials.product_trial import ProductTrial, saved_seconds, saving_of
from accel.diagnose.layer_trials.tried_findings import LEAST_GAIN, tried_findings
from accel.diagnose.layers.layer_table import LayerTable
from accel.diagnose.layers.operation import Window

CEILINGS = MachineCeilings("a machine", 1, {"float32": 1e11}, {1 << 27: 2e10}, 1e-6)
LARGE = Product((256, 256), (256, 256), weight_gradient=True, input_gradient=True)
SMALL = LARGE.with_channels(256, 16)
SLOWER, FASTER = ProductTrial((SMALL,), (LARGE,), 1e-3), ProductTrial((LARGE,), (SMALL,), 1e-3)
TABLE = LayerTable((), {}, (), CEILINGS, 4e-3)


@pytest.fixture(autouse=True)
def known_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(advising, "kept_ceilings", lambda device, dtypes: (CEILINGS, "given"))


def table_of(model: nn.Module, batch: Tensor) -> LayerTable:
    return advise(model, batch, seconds=0.001).table


def frozen(module: nn.Module) -> nn.Module:
    return module.requires_grad_(False)


PRODUCTS: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "convolution": (lambda: nn.Sequential(nn.Conv2d(4, 8, 3, 2, 1), nn.Conv2d(8, 16, 3, dilation=2)), torch.randn(2, 4, 16, 16)),
    "one-dimensional": (lambda: nn.Sequential(nn.Conv1d(4, 8, 3, bias=False), nn.Conv1d(8, 4, 1)), torch.randn(2, 4, 16)),
    "matrix": (lambda: nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 4, bias=False)), torch.randn(6, 8)),
    "matrix of sequences": (lambda: nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 4)), torch.randn(3, 5, 8)),
    "frozen": (lambda: nn.Sequential(nn.Linear(8, 16), frozen(nn.Linear(16, 16)), nn.Linear(16, 4)), torch.randn(6, 8)),
    "inference": (lambda: nn.Sequential(nn.Conv2d(4, 8, 3), nn.Conv2d(8, 8, 3)).eval(), torch.randn(2, 4, 8, 8)),
    "channels last": (
        lambda: nn.Sequential(nn.Conv2d(4, 8, 3), nn.Conv2d(8, 8, 3)).to(memory_format=torch.channels_last),
        torch.randn(2, 4, 8, 8),
    ),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_product_by_itself_is_as_much_work_as_in_its_model(name: str) -> None:
    make, batch = PRODUCTS[name]
    table = table_of(make(), batch)
    products = [(one, product_of(one, table)) for one in table.forward if one.channels is not None]
    assert len(products) == len([layer for layer in table.layers if layer.flops])
    for one, product in products:
        assert product is not None
        compute = runnable(product)
        with FlopCounterMode(display=False) as counter, torch.enable_grad():
            compute()
        layer = next(layer for layer in table.layers if layer.path == one.layer)
        assert counter.get_total_flops() == layer.flops
        assert product.layout == ("channels_last" if name == "channels last" else "contiguous")
        assert product_seconds(one, table) == pytest.approx(sum(op.seconds for op in layer.operations if op.flops))


def test_what_cannot_be_computed_by_itself_has_no_product() -> None:
    table = table_of(nn.Sequential(nn.ConvTranspose2d(4, 8, 3)), torch.randn(2, 4, 8, 8))
    assert [product_of(one, table) for one in table.forward if one.channels is not None] == [None]
    unbatched = table_of(nn.Sequential(nn.Conv2d(4, 8, 3)), torch.randn(4, 8, 8))
    assert all(product is None or len(product.given) == 4 for one in unbatched.forward for product in [product_of(one, unbatched)])


def test_channels_and_groups_are_changed_together() -> None:
    grouped = Product((2, 64, 8, 8), (64, 8, 3, 3), window=Window((1, 1), (1, 1), (1, 1)), groups=8)
    assert grouped.with_channels(24, 32, groups=1) == replace(grouped, given=(2, 24, 8, 8), weight=(32, 24, 3, 3), groups=1)
    assert ProductTrial((grouped,), (grouped.with_channels(24, 24, 1),), 1.0, is_same_work=True).scale == 64 * 8 / (24 * 24)


def test_a_trial_tells_which_takes_longer() -> None:
    drawn = torch.get_rng_state()
    assert saving_of(FASTER, 0.05) > 0.3
    assert saving_of(SLOWER, 0.05) < -0.3
    assert saved_seconds([FASTER, FASTER], 0.05) > 0.3 * 2e-3
    assert torch.equal(drawn, torch.get_rng_state())


def test_what_there_is_no_time_for_saves_as_large_a_share() -> None:
    other = replace(FASTER, before=(replace(LARGE, bias=True),), after=(replace(SMALL, bias=True),), seconds=9e-4)
    assert saved_seconds([FASTER, other], 1e-9) == pytest.approx(1.9 * saved_seconds([FASTER], 1e-9), rel=0.5)


def test_findings_keep_what_they_save_and_go_if_they_save_nothing() -> None:
    findings = [
        Finding("channel_multiples", "", "", trials=(SLOWER,)),
        Finding("joinable_layers", "", "", trials=(FASTER,)),
        Finding("bias_before_norm", "", "", trials=(SLOWER,)),
        Finding("group_convolutions", "", "", gain_note="if"),
        Finding("depthwise", "", "", gain_note="another model"),
    ]
    tried = {one.name: one for one in tried_findings(findings, TABLE, 0.05)}
    assert tried.keys() == {"joinable_layers", "bias_before_norm", "group_convolutions", "depthwise"}
    gain = tried["joinable_layers"].gain
    assert gain is not None
    assert LEAST_GAIN < gain <= 0.25, "of a pass of four milliseconds, of which the trial is about one"
    assert tried["bias_before_norm"].gain == 0
    assert "cannot be computed by themselves" in tried["group_convolutions"].gain_note
    assert tried["depthwise"].gain_note == "another model"


def test_weights_in_another_order_are_copies_and_go_again() -> None:
    model = nn.Sequential(nn.Conv2d(4, 8, 3), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(2, 2))
    model[2].weight = model[1].weight
    model[0].weight.requires_grad_(False)
    before = {name: (id(param), param.data_ptr()) for name, param in model.named_parameters(remove_duplicate=False)}
    with channels_last_weights(model):
        weights = [model[place].weight for place in range(3)]
        assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)
        assert weights[1] is weights[2]
        assert [weight.requires_grad for weight in weights] == [False, True, True]
        assert id(model[3].weight) == before["3.weight"][0]
    with pytest.raises(RuntimeError), channels_last_weights(model):
        model(torch.ones(2))
    assert {name: (id(param), param.data_ptr()) for name, param in model.named_parameters(remove_duplicate=False)} == before


@pytest.mark.parametrize(
    ("model", "batch", "expected"),
    [
        (lambda: nn.Conv2d(4, 8, 3), torch.randn(2, 4, 8, 8), True),
        (lambda: nn.Conv2d(4, 8, 3).to(memory_format=torch.channels_last), torch.randn(2, 4, 8, 8), False),
        (lambda: nn.Conv2d(4, 8, 1), torch.randn(2, 4, 8, 8), False),  # one place has no order
        (lambda: nn.Conv2d(4, 4, 3, groups=4), torch.randn(2, 4, 8, 8), False),  # nor has one channel
        (lambda: nn.Conv1d(4, 8, 3), torch.randn(2, 4, 8), False),
        (lambda: nn.Linear(4, 8), torch.randn(2, 4), False),
    ],
)
def test_the_order_is_tried_where_there_is_another(model: Callable[[], nn.Module], batch: Tensor, expected: bool) -> None:
    table = table_of(nn.Sequential(model()), batch)
    assert can_switch(table) is expected
    assert (table.order_saving is not None) is expected
    assert not can_switch(replace(table, plugins=frozenset({"channels_last"})))
