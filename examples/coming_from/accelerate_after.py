"""A convnet learns handwritten digits: Accelerate's training in a loop of one's own by accel."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import accel
from accel.parts import Watch
from accel.plugins import AMP, Accumulate, AdamW, Clip, OneCycle

pictures, labels = map(torch.from_numpy, load_digits(return_X_y=True))
digits = TensorDataset(pictures.float().div(16).reshape(-1, 1, 8, 8), labels)
train_set, test_set = TensorDataset(*digits[:1408]), TensorDataset(*digits[1408:])

torch.manual_seed(0)
net = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Linear(256, 64),
    nn.ReLU(),
    nn.Linear(64, 10),
)
loader = DataLoader(train_set, batch_size=16, shuffle=True, generator=torch.Generator().manual_seed(0))
test_loader = DataLoader(test_set, batch_size=64)


def metrics_of(model, batch):
    x, y = batch
    return {"accuracy": (model(x).argmax(1) == y).float().mean()}


class Accuracy(Watch):
    def evaluated(self, epoch, metrics):
        print(f"epoch {epoch:.0f} accuracy {metrics['accuracy']:.4f}")


with accel.pieces.begin(
    net,
    loader,
    val=test_loader,
    metrics=metrics_of,
    plugins=[AMP(), Accumulate(steps=4), Clip(max_norm=1.0), AdamW(lr=1e-3), OneCycle(max_lr=0.01)],
    watch=[Accuracy()],
    epochs=3,
    device="cpu",
    out="runs/digits",
    resume="auto",
) as run:
    for window in run:
        for x, y in window:
            with run.cast():
                loss = nn.functional.cross_entropy(run.model(x), y)
            run.backward(loss)
        print(f"update {run.updates + 1} loss {run.step():.9f}")
