"""An evaluation every 20 updates, of 2 batches of each of two held-out sets."""

from digits import loss, net, test_set, train_set
from torch.utils.data import Subset

from accel import Trainer

sets = {"easy": Subset(test_set, range(180)), "hard": Subset(test_set, range(180, 360))}
result = Trainer(
    net(), train_set, sets, loss, batch_size=60, epochs=2, evaluate_every=20, evaluate_batches=2, device="cpu", plugins=["adamw"]
).fit()
for row in result.history:
    print(f"epoch {row['epoch']:.2f}: {row['easy/loss']:.3f} and {row['hard/loss']:.3f}")
