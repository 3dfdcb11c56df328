import pytest
import torch

from accel.errors import ConfigError
from accel.plugins.adamw import AdamW
from accel.testing import fit_toy


def test_settings_reach_torch() -> None:
    optimizer = fit_toy([AdamW(lr=0.02, beta1=0.8, beta2=0.95, eps=1e-6, weight_decay=0.3)]).spy.run.parts.optim.optimizer
    assert isinstance(optimizer, torch.optim.AdamW)
    group = optimizer.param_groups[0]
    actual = {name: group[name] for name in ("lr", "betas", "eps", "weight_decay", "fused")}
    assert actual == {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.3, "fused": True}


def test_fused_and_unfused_agree() -> None:
    assert fit_toy([AdamW()]).distance(fit_toy([AdamW(fused=False)])) < 1e-6


@pytest.mark.parametrize("fused", [True, False])
def test_biases_and_norms_stay_out_of_the_decay_where_asked(fused: bool) -> None:
    settings = {"lr": 0.02, "weight_decay": 0.3, "fused": fused}
    optimizer = fit_toy([AdamW(exclude="norm_and_bias", **settings)]).spy.run.parts.optim.optimizer  # type: ignore[arg-type]
    actual = [(group["weight_decay"], [param.dim() for param in group["params"]]) for group in optimizer.param_groups]
    assert actual == [(0.3, [2, 2]), (0.0, [1, 1, 1, 1])]
    assert {group["lr"] for group in optimizer.param_groups} == {0.02}
    assert len(fit_toy([AdamW(**settings)]).spy.run.parts.optim.optimizer.param_groups) == 1  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("setting", "value", "sentence"),
    [
        ("lr", 0.0, "adamw.lr must be a number above 0, not 0.0"),
        ("lr", "fast", "adamw.lr must be a number above 0, not 'fast'"),
        ("beta1", 1.0, "adamw.beta1 must be a number from 0 to below 1, not 1.0"),
        ("lr", float("nan"), "adamw.lr must be a number above 0, not nan"),
        ("fused", 1, "adamw.fused must be true or false, not 1"),
        ("weight_decay", None, "adamw.weight_decay must be a number from 0, not null"),
    ],
)
def test_wrong_values_get_a_sentence(setting: str, value: object, sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        AdamW(**{setting: value})  # type: ignore[arg-type]
    assert str(error.value) == sentence
