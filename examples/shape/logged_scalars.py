"""Numbers beside the loss: means over each update in metrics.jsonl, on the progress line and in trackers."""

from digits import accuracy, loss, net, test_set, train_set

from accel import Trainer


def loss_and_accuracy(model, batch):
    return loss(model, batch), {"train_accuracy": accuracy(model, batch)["accuracy"]}


result = Trainer(net(), train_set, test_set, loss_and_accuracy, batch_size=60, device="cpu").fit()
print(f"accuracy {result.metrics['train_accuracy']:.3f} in evaluation")
