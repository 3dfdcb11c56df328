"""A run of so many updates, whatever the epochs are; its schedule ends with it."""

from digits import loss, net, train_set

from accel import Trainer

result = Trainer(net(), train_set, loss=loss, batch_size=60, updates=40, device="cpu", plugins=["adamw", "onecycle"]).fit()
print(f"{result.updates} updates, {result.epochs} whole epoch, {result.samples} samples")
