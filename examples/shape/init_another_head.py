"""Begin with the weights of another run; the head is another one, and begins anew."""

import torch
from digits import accuracy, loss, net, test_set, train_set
from torch import nn

from accel import Trainer


def odd(batch):
    return batch[0], batch[1] % 2


torch.manual_seed(0)
digits = Trainer(net(), train_set, loss=loss, plugins=["adamw"], device="cpu").fit().model
parity = net()
parity[6] = nn.Linear(1024, 2)
result = Trainer(
    parity, train_set, test_set, loss=lambda model, batch: loss(model, odd(batch)), init=digits, init_strict=False,
    metrics=lambda model, batch: accuracy(model, odd(batch)), plugins=["adamw"], device="cpu",
).fit()  # fmt: skip
print(f"accuracy {result.metrics['accuracy']:.3f}")
