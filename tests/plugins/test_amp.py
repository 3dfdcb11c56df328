import warnings

import pytest
import torch

from accel.errors import AccelWarning, ConfigError
from accel.parts import Part
from accel.plugins.accumulate import Accumulate
from accel.plugins.adamw import AdamW
from accel.plugins.amp import AMP
from accel.plugins.clip import Clip
from accel.testing import fit_toy
from tests.support.handwritten_loop import hand_loop


def test_bfloat16_is_torchs_autocast() -> None:
    actual = fit_toy([AMP(), AdamW()])
    weights, losses = hand_loop(
        lambda model: torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True), cast=torch.autocast("cpu", torch.bfloat16)
    )
    assert all(torch.equal(a, b) for a, b in zip(actual.weights, weights, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(actual.losses, losses, strict=True))


def test_weights_and_gradients_stay_float32() -> None:
    run = fit_toy([AMP()]).spy.run
    assert {param.dtype for param in run.unwrapped_model.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    "others", [[], [Clip(max_norm=0.3)], [Accumulate(steps=2), Clip(max_norm=0.3)]], ids=["", "clip", "window"]
)
def test_the_loss_scale_cancels(others: list[Part]) -> None:
    # a power of two changes no bit of a float32 gradient, so runs with different scales agree to the last bit
    big = fit_toy([AMP(dtype="float16", force=True, init_scale=4096.0), AdamW(), *others])
    small = fit_toy([AMP(dtype="float16", force=True, init_scale=1024.0), AdamW(), *others])
    assert big.distance(small) < 2e-3
    assert torch.equal(big.losses[0], small.losses[0])


def test_float16_follows_float32() -> None:
    half = fit_toy([AMP(dtype="float16", force=True), AdamW(lr=0.01)], epochs=8, dropout=0.0)
    full = fit_toy([AdamW(lr=0.01)], epochs=8, dropout=0.0)
    assert half.metrics["loss"] == pytest.approx(full.metrics["loss"], abs=0.02)


def test_the_scale_is_saved(tmp_path) -> None:  # type: ignore[no-untyped-def]
    amp = AMP(dtype="float16", force=True, init_scale=1024.0, growth_interval=4)
    whole = fit_toy([amp], overflow=[2], epochs=2)
    fit_toy([AMP(**amp.settings)], overflow=[2], epochs=2, out=tmp_path / "run", stop=7)
    rest = fit_toy([AMP(**amp.settings)], epochs=2, resume=tmp_path / "run")
    actual, theirs = whole.spy.run.parts.precision.state_dict(), rest.spy.run.parts.precision.state_dict()
    assert actual == theirs
    assert float(actual["skipped"]) == 1


def test_float16_on_a_cpu_is_refused_with_the_way_out() -> None:
    with pytest.raises(ConfigError) as error:
        fit_toy([AMP(dtype="float16")])
    assert str(error.value) == (
        "amp: dtype=float16 needs CUDA, and this run is on the CPU (float16 is 20 to 30 times slower than float32 there); "
        "use plugins.amp.dtype=bfloat16"
    )


def test_a_misspelt_dtype_gets_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"amp.dtype must be bfloat16 or float16, not 'bfloat'; did you mean 'bfloat16'\?"):
        AMP(dtype="bfloat")  # type: ignore[arg-type]


def test_a_scale_without_effect_warns() -> None:
    with pytest.warns(AccelWarning, match=r"amp.init_scale has no effect with amp.dtype=bfloat16"):
        fit_toy([AMP(init_scale=8.0)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit_toy([AMP(dtype="float16", force=True, init_scale=8.0)])


def test_the_plan_names_the_loss_scale_where_there_is_one() -> None:
    float16 = fit_toy([AMP(dtype="float16", force=True, init_scale=4096.0)]).spy.run.parts.precision.plan_notes()
    assert float16["arithmetic"].endswith(", loss scale from 4096")
    assert "loss scale" not in fit_toy([AMP()]).spy.run.parts.precision.plan_notes()["arithmetic"]
