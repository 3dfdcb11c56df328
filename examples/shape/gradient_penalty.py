"""A gradient penalty: the loss differentiates the model by its input, and training differentiates that once more."""

import torch
from digits import accuracy, loss, net, test_set, train_set

from accel import Trainer


def penalised_loss(model, batch):
    pictures = batch[0].clone().requires_grad_()
    if not torch.is_grad_enabled():
        return loss(model, batch)
    (slope,) = torch.autograd.grad(loss(model, (pictures, batch[1])), pictures, create_graph=True)
    penalty = slope.square().sum()
    return loss(model, batch) + penalty, {"penalty": penalty}


result = Trainer(net(), train_set, test_set, penalised_loss, accuracy, batch_size=60, device="cpu").fit()
print(f"accuracy {result.metrics['accuracy']:.3f}")
