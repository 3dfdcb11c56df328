"""The best weights of a run, kept as they were evaluated and loaded again."""

from digits import accuracy, loss, net, test_set, train_set

import accel

result = accel.Trainer(
    net(), train_set, test_set, loss, accuracy, batch_size=60, epochs=4, out="run", checkpoint_best="accuracy", device="cpu",
    plugins=["adamw", "ema"],
).fit()  # fmt: skip
model = accel.load("run", model=net())  # the averaged weights of the best epoch, in evaluation mode
print(f"best: epoch {result.best.epoch}, accuracy {result.best.value:.4f}")
print(f"loaded again: accuracy {accuracy(model, test_set[:])['accuracy']:.4f}")
