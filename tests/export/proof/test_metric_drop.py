from __future__ import annotations

from math import isnan, nan

import pytest

from accel.export.proof.metric_drop import metric_drop


def test_an_accuracy_drops_by_points_and_the_worst_one_counts() -> None:
    expected = {"a/loss": 1.0, "a/accuracy": 0.9, "b/accuracy": 0.8}
    drop = metric_drop(expected, {"a/loss": 9.0, "a/accuracy": 0.91, "b/accuracy": 0.79})
    assert drop is not None
    assert (drop.metric, drop.unit) == ("b/accuracy", "points")
    assert drop.amount == pytest.approx(1.0)


def test_without_one_a_loss_rises_by_percent() -> None:
    drop = metric_drop({"loss": 2.0, "perplexity": 7.4}, {"loss": 2.01, "perplexity": 7.5})
    assert drop is not None
    assert (drop.metric, drop.amount, drop.unit) == ("loss", pytest.approx(0.5), "percent")


def test_no_number_is_the_largest_drop_of_all_and_no_metric_is_none() -> None:
    drop = metric_drop({"loss": 2.0, "other_loss": 1.0}, {"loss": nan, "other_loss": 9.0})
    assert drop is not None
    assert isnan(drop.amount)
    assert metric_drop({"error": 1.0}, {"error": 2.0}) is None
