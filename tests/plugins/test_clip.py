from typing import Any

import pytest
import torch
from torch import Tensor, nn

from accel.errors import AccelWarning, ConfigError
from accel.parts import Grads
from accel.plugins.adamw import AdamW
from accel.plugins.amp import AMP
from accel.plugins.clip import Clip
from accel.plugins.sgd import SGD
from accel.testing import fit_toy
from accel.trainer import Trainer
from tests.support.handwritten_loop import hand_loop


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
    result = fit_toy([SGD(lr=0.1, fused=False), Clip(max_norm=max_norm)])
    weights, _ = hand_loop(
        lambda model: torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
        before_step=lambda model: nn.utils.clip_grad_norm_(model.parameters(), max_norm),
    )
    assert max(float((a - b).abs().max()) for a, b in zip(result.weights, weights, strict=True)) < 1e-6


def test_value_is_torchs() -> None:
    result = fit_toy([SGD(lr=0.1, fused=False), Clip(mode="value", max_value=0.01)])
    weights, _ = hand_loop(
        lambda model: torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
        before_step=lambda model: nn.utils.clip_grad_value_(model.parameters(), 0.01),
    )
    assert all(torch.equal(a, b) for a, b in zip(result.weights, weights, strict=True))


@pytest.mark.parametrize("optim", [SGD, AdamW])
def test_folded_into_the_fused_optimiser_it_gives_what_it_gives_apart(optim: type[SGD | AdamW]) -> None:
    folded = fit_toy([optim(lr=0.05), Clip(max_norm=0.1)])
    apart = fit_toy([optim(lr=0.05, fused=False), Clip(max_norm=0.1)])
    assert folded.distance(apart) < 2e-6


def test_the_other_modes_setting_warns() -> None:
    with pytest.warns(AccelWarning, match=r"clip.max_value has no effect with clip.mode=norm"):
        fit_toy([Clip(max_value=3.0)])


def timms(params: list[Tensor], clipping: float = 0.01, eps: float = 1e-3) -> None:
    """timm.utils.agc.adaptive_clip_grad, as it stands there."""

    def unitwise(x: Tensor) -> Tensor:
        return x.norm(2.0) if x.ndim <= 1 else x.norm(2.0, dim=tuple(range(1, x.ndim)), keepdim=True)

    for param in params:
        assert param.grad is not None
        longest = unitwise(param.detach()).clamp_(min=eps).mul_(clipping)
        norm = unitwise(param.grad)
        shortened = param.grad * (longest / norm.clamp(min=1e-6))
        param.grad.copy_(torch.where(norm < longest, param.grad, shortened))


def weights(scale: float) -> list[Tensor]:
    """A Linear, a convolution (also channels_last), an embedding with unused rows, a bias, a number, weights that are zero."""
    rng = torch.Generator().manual_seed(0)
    shapes = [(5, 7), (4, 3, 2, 2), (4, 3, 2, 2), (6, 3), (9,), (), (5, 4)]
    params = [nn.Parameter(torch.randn(shape, generator=rng)) for shape in shapes]
    params[2].data = params[2].data.contiguous(memory_format=torch.channels_last)
    params[6].data.zero_()
    for param in params:
        param.grad = torch.randn(param.shape, generator=rng) * scale
    params[3].grad[::2] = 0.0  # type: ignore[index]
    return list(params)


@pytest.mark.parametrize("scale", [1e-4, 0.03, 10.0])
@pytest.mark.parametrize("factor", [None, 1024.0])
def test_adaptive_is_timms(scale: float, factor: float | None) -> None:
    params, theirs = weights(scale), weights(scale)
    timms(theirs)
    grads = Grads(params)
    if factor:
        for param in params:
            param.grad *= factor
        grads.scale = torch.tensor(factor)
    limited = Clip(mode="adaptive").limit(grads)
    assert limited.scale is None
    for mine, his in zip(params, theirs, strict=True):
        torch.testing.assert_close(mine.grad, his.grad, rtol=1e-6, atol=0)


def test_adaptive_against_the_paper_unit_by_unit() -> None:
    params = weights(1.0)
    before = [param.grad.double().clone() for param in params]  # type: ignore[union-attr]
    Clip(mode="adaptive", clipping=0.1, eps=0.01).limit(Grads(params))
    for param, was in zip(params, before, strict=True):
        units = range(len(param)) if param.dim() > 1 else [...]
        for unit in units:
            g, w = was[unit], param.detach()[unit].double()  # type: ignore[index]
            longest = 0.1 * max(float(w.norm()), 0.01)
            wanted = g * longest / g.norm() if g.norm() > longest else g
            torch.testing.assert_close(param.grad[unit].double(), wanted, rtol=1e-5, atol=0)  # type: ignore[index]


def test_short_units_keep_their_bits_and_weights_at_zero_can_move() -> None:
    params = weights(1e-6)
    before = [param.grad.clone() for param in params]  # type: ignore[union-attr]
    Clip(mode="adaptive").limit(Grads(params))
    assert all(torch.equal(param.grad, was) for param, was in zip(params, before, strict=True))  # type: ignore[arg-type]
    params = weights(1.0)
    Clip(mode="adaptive").limit(Grads(params))
    torch.testing.assert_close(params[6].grad.norm(dim=1), torch.full((5,), 1e-5))  # type: ignore[union-attr]


@pytest.mark.parametrize("skip", ["auto", "4", "4.weight, 4.bias"])
def test_adaptive_is_timms_in_training_and_leaves_the_last_layer_out(skip: str) -> None:
    result = fit_toy([SGD(lr=0.1, fused=False), Clip(mode="adaptive", skip=skip)])
    his, _ = hand_loop(
        lambda model: torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
        before_step=lambda model: timms(list(model.parameters())[:-2]),
    )
    assert max(float((a - b).abs().max()) for a, b in zip(result.weights, his, strict=True)) < 1e-6
    assert result.spy.run.parts.clip.plan_notes() == {"adaptive clipping": "all but 4.weight, 4.bias"}
    assert result.distance(fit_toy([SGD(lr=0.1, fused=False), Clip(mode="adaptive", skip="none")])) > 1e-4


@pytest.mark.parametrize("fused", [True, False])
def test_adaptive_with_a_loss_scale_and_skipped_updates(fused: bool) -> None:
    half = AMP(dtype="float16", force=True, init_scale=1024.0)
    outcome = fit_toy([half, AdamW(fused=fused), Clip(mode="adaptive")], overflow=[1, 5])
    states = outcome.spy.states
    assert all(torch.equal(a, b) for a, b in zip(states[3], states[4], strict=True))
    assert all(torch.isfinite(tensor).all() for tensor in states[-1])


def test_who_asks_for_the_norm_after_the_clip_gets_that_of_what_is_left() -> None:
    for clip in (Clip(mode="value", max_value=0.1), Clip(mode="adaptive")):
        actual = grads([3.0], [4.0], scale=2.0)
        actual.need_found_inf()
        torch.testing.assert_close(clip.limit(actual).norm(), torch.cat(actual.tensors()).norm())


def test_a_name_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"clip.skip=4.wieght: the model trains no '4.wieght'; did you mean '4.weight'\?"):
        fit_toy([Clip(mode="adaptive", skip="4.wieght")])


def test_adaptive_settings_without_effect_warn() -> None:
    with pytest.warns(AccelWarning, match=r"clip.clipping has no effect with clip.mode=norm"):
        fit_toy([Clip(clipping=0.1)])
    with pytest.warns(AccelWarning, match=r"clip has no effect: clip.skip=0,1,4 leaves out every parameter; set clip.skip=none"):
        fit_toy([Clip(mode="adaptive", skip="0,1,4")])


@pytest.mark.parametrize("mode", ["norm", "value", "adaptive"])
def test_weights_of_several_dtypes_are_clipped(mode: Any) -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wide, self.usual = nn.Linear(3, 4, dtype=torch.float64), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Any:
            return self.usual(self.wide(x.double()).float())

    torch.manual_seed(0)
    model = Mixed()
    before = [param.detach().clone() for param in model.parameters()]
    plugins: list[Any] = [SGD(lr=1e-3), Clip(mode=mode, **({"skip": "none"} if mode == "adaptive" else {}))]
    Trainer(model, [torch.ones(2, 3)], loss=lambda m, x: 1e3 * m(x).square().mean(), plugins=plugins, watch=()).fit()
    assert not any(map(torch.equal, before, model.parameters()))
