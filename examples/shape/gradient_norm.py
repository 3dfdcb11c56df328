"""The norms of gradients and weights, and how far each update moves the weights: with the loss in metrics.jsonl and the line."""

import json
from pathlib import Path

from digits import loss, net, train_set

from accel import Trainer
from accel.plugins import Norms

Trainer(net(), train_set, loss=loss, batch_size=60, device="cpu", plugins=[Norms(every=8, depth=1)], out="norms").fit()
row = json.loads(Path("norms/metrics.jsonl").read_text().splitlines()[0])
print(f"gradient {row['grad_norm']:.3f}, of the last layer {row['grad_norm/6']:.3f}; step / weights {row['update_ratio']:.5f}")
