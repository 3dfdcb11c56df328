"""F1 of torchmetrics, over the whole of the held-out data."""

from digits import loss, net, test_set, train_set
from torchmetrics.classification import MulticlassF1Score

from accel import Trainer

f1 = MulticlassF1Score(10)


def metrics(model, batch):
    f1.update(model(batch[0]), batch[1])
    return {"f1": f1}


result = Trainer(net(), train_set, test_set, loss, metrics, batch_size=60, device="cpu", plugins=["adamw"]).fit()
print(f"F1 {result.metrics['f1']:.3f}")
