import pytest
import torch
from torch import Tensor, nn

from accel.errors import AccelWarning
from accel.parts import Grads
from accel.plugins.adamw import AdamW
from accel.plugins.clip import Clip
from accel.plugins.sgd import SGD
from accel.testing import fit_toy
from tests.hand import hand_loop


def grads(*values: list[float], scale: float | None = None) -> Grads:
    params: list[Tensor] = []
    for value in values:
        param = nn.Parameter(torch.zeros(len(value)))
        param.grad = torch.tensor(value) * (scale or 1.0)
        params.append(param)
    return Grads(params, None if scale is None else torch.tensor(scale))


def test_a_long_gradient_is_shortened() -> None:
    limited = Clip(max_norm=1.0).limit(grads([3.0], [4.0])).materialise()
    assert torch.cat(limited).tolist() == pytest.approx([0.6, 0.8], rel=1e-6)


def test_a_short_gradient_keeps_its_bits() -> None:
    before = torch.randn(10) * 0.01
    limited = Clip(max_norm=1.0).limit(grads(before.tolist())).materialise()
    assert torch.equal(limited[0], before)


def test_it_sees_the_unscaled_gradient() -> None:
    scaled = Clip(max_norm=1.0).limit(grads([3.0], [4.0], scale=1024.0)).materialise()
    assert torch.cat(scaled).tolist() == pytest.approx([0.6, 0.8], rel=1e-6)
    values = Clip(mode="value", max_value=3.5).limit(grads([3.0], [-4.0], scale=1024.0)).materialise()
    assert torch.cat(values).tolist() == [3.0, -3.5]


@pytest.mark.parametrize("max_norm", [0.05, 0.5, 100.0])
def test_norm_is_torchs(max_norm: float) -> None:
    ours = fit_toy([SGD(lr=0.1, fused=False), Clip(max_norm=max_norm)])
    weights, _ = hand_loop(
        lambda model: torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
        before_step=lambda model: nn.utils.clip_grad_norm_(model.parameters(), max_norm),
    )
    assert max(float((a - b).abs().max()) for a, b in zip(ours.weights, weights, strict=True)) < 1e-6


def test_value_is_torchs() -> None:
    ours = fit_toy([SGD(lr=0.1, fused=False), Clip(mode="value", max_value=0.01)])
    weights, _ = hand_loop(
        lambda model: torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
        before_step=lambda model: nn.utils.clip_grad_value_(model.parameters(), 0.01),
    )
    assert all(torch.equal(a, b) for a, b in zip(ours.weights, weights, strict=True))


@pytest.mark.parametrize("optim", [SGD, AdamW])
def test_folded_into_the_fused_optimiser_it_gives_what_it_gives_apart(optim: type[SGD | AdamW]) -> None:
    folded = fit_toy([optim(lr=0.05), Clip(max_norm=0.1)])
    apart = fit_toy([optim(lr=0.05, fused=False), Clip(max_norm=0.1)])
    assert folded.distance(apart) < 2e-6


def test_the_other_modes_setting_warns() -> None:
    with pytest.warns(AccelWarning, match=r"clip.max_value has no effect with clip.mode=norm"):
        fit_toy([Clip(max_value=3.0)])
