"""Add a teacher to example 03: a student of a quarter of the width learns from what a wide model says of each picture.

A teacher is a trained module, a run directory or a file of weights. With teacher=self a run trains its own first.

python -m accel.train epochs=3 +plugins=[adamw,onecycle,distill] plugins.distill.teacher=self
"""

import torch
from digits import accuracy, loss, net, test_set, train_set

from accel import Trainer
from accel.plugins import AdamW, Distill, OneCycle


def fit(model: torch.nn.Module, *plugins: Distill) -> float:
    """Train a model, and return its accuracy on the test set."""
    result = Trainer(
        model=model, data=train_set, val=test_set, loss=loss, metrics=accuracy, epochs=8, device="cpu", watch=(),
        plugins=[AdamW(), OneCycle(max_lr=0.005), *plugins],
    ).fit()  # fmt: skip
    return result.metrics["accuracy"]


torch.manual_seed(0)
teacher, student = net(width=32), net(width=8)
best = fit(teacher)
reached = fit(student, Distill(teacher=teacher))

print(f"the teacher has {best:.3f}")
print(f"accuracy {reached:.3f} after 8 epochs with it")
