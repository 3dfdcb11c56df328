"""Distances between tensors, layer by layer."""

from __future__ import annotations

import pytest
import torch

from accel.parts.shared.repeated.layer_distances import layer_distances


def test_a_layer_is_as_far_as_its_parameters_together() -> None:
    plain = {"a.weight": torch.tensor([3.0, 0.0]), "a.bias": torch.tensor([4.0]), "b.weight": torch.tensor([2.0])}
    values = {"a.weight": torch.tensor([3.0, 1.0]), "a.bias": torch.tensor([4.0]), "b.weight": torch.tensor([2.0])}
    distances = layer_distances(values, plain)
    assert distances.layers == ["a", "b"]
    assert distances.numbers.tolist() == pytest.approx([0.2, 0.0])


def test_what_is_missing_is_zero_and_what_is_next_to_nothing_does_not_count() -> None:
    plain = {"a": torch.tensor([1.0]), "b.bias": torch.tensor([1e-9])}
    distances = layer_distances({"b.bias": torch.tensor([-1e-9])}, plain)
    assert distances.numbers.tolist() == pytest.approx([1.0, 2e-6], rel=1e-3)
    assert layer_distances({}, {}).layers == []
