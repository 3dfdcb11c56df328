"""Parametrised weights become plain ones of the same values, in a copy alone."""

from __future__ import annotations

import warnings
from copy import deepcopy

import torch
from torch import nn
from torch.nn.utils import parametrizations, spectral_norm, weight_norm
from torch.nn.utils.parametrize import is_parametrized

from accel.compress.plain_weights import fix_parametrised


def test_a_copy_is_plain_and_computes_the_same() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of the older functions
        model = nn.Sequential(
            parametrizations.weight_norm(nn.Linear(4, 4)), parametrizations.spectral_norm(nn.Linear(4, 4)),
            parametrizations.orthogonal(nn.Linear(4, 4)), weight_norm(nn.Linear(4, 4)), spectral_norm(nn.Linear(4, 4)),
        ).eval()  # fmt: skip
    x = torch.randn(3, 4)
    with torch.no_grad():
        expected = model(x)
        copy = deepcopy(model)
        assert fix_parametrised(copy) == 5
        assert torch.allclose(copy(x), expected, atol=1e-6)
        assert not any(map(is_parametrized, copy.modules()))
        assert not any(module._forward_pre_hooks for module in copy.modules())
        assert torch.equal(model(x), expected), "the model itself is left as it is"
        assert fix_parametrised(copy) == 0
