"""Comparison of two models on the held-out data of a run."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from accel.checkpoints.weights.find_weights import FoundWeights
from accel.engine.loading.evaluate_saved import Evaluation, evaluate_saved
from accel.engine.loading.predict import class_names
from accel.engine.loading.task_record import TaskRecord
from accel.engine.request import RunRequest
from accel.export.comparison.model_comparison import ModelComparison
from accel.export.comparison.paired_model import PairedModel
from accel.export.proof.plain_request import plain_request

__all__ = ["compare_models"]


def compare_models(
    request: RunRequest, source: FoundWeights, record: TaskRecord | None, one: Callable[[nn.Module], nn.Module], two: nn.Module
) -> ModelComparison:  # fmt: skip
    """Return the metrics of two models on the same data, and how far their outputs differ. Both compute in float32 on the CPU.

    Args:
        request: the task whose data and metrics are used.
        source: the weights of its run.
        record: the task as its run has kept it.
        one: is given the model with these weights, and returns the first to compare: it, or an export in its place.
        two: the second, in evaluation mode.

    Raises:
        ConfigError: if they cannot be evaluated, or their outputs have different shapes.
    """
    pairs: list[PairedModel] = []
    evaluations: list[Evaluation] = []
    request = plain_request(request)
    for returned in (0, 1):

        def stand_in(model: nn.Module, returned: int = returned) -> nn.Module:
            pairs.append(PairedModel(one(model), two, returned))
            return pairs[-1]

        evaluations.append(evaluate_saved(request, source, record, stand_in))
    differences, first = pairs[0].differences, evaluations[0]
    counts = [count for count in first.samples.values() if count is not None]
    differing = pairs[0].numbered(counts[0] if len(first.samples) == len(counts) == 1 else None)
    classes = class_names(request.task)
    return ModelComparison(
        first.split or ", ".join(first.samples), sum(counts) if counts else None, (first.metrics, evaluations[1].metrics),
        differences.largest, differences.share, differences.mean, differences.place, differences.agreement,
        tuple(differing), tuple(classes), tuple(first.remarks),
    )  # fmt: skip
