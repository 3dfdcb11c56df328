"""Train a plain loop: a model, data and a loss.

On the command line, with the net that accel brings for the same digits:

python -m accel.train epochs=5
"""

import torch
from digits import accuracy, loss, net, test_set, train_set

from accel import Trainer

torch.manual_seed(0)
result = Trainer(model=net(), data=train_set, val=test_set, loss=loss, metrics=accuracy, epochs=5, device="cpu").fit()

print(f"accuracy {result.metrics['accuracy']:.3f} after {result.updates} updates")
