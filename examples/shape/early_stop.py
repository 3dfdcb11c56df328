"""A run that ends when its accuracy gains no more in 2 evaluations; the reason is in its summary."""

from digits import accuracy, loss, net, test_set, train_set

from accel import Trainer
from accel.plugins import AdamW, EarlyStop

plugins = [AdamW(), EarlyStop("accuracy", patience=2)]
result = Trainer(net(), train_set, test_set, loss, accuracy, batch_size=60, epochs=50, device="cpu", plugins=plugins).fit()
print(f"after {result.epochs} epochs: {result.stopped}")
