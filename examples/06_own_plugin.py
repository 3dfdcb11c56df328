"""Write a plugin: a subclass of one part of the update, with typed settings.

`check_plugin` proves that it works with every plugin of accel, in any order.
"""

from dataclasses import dataclass

import torch
from digits import accuracy, loss, net, test_set, train_set

from accel import Trainer
from accel.parts import Clip, Grads
from accel.plugins import AMP, AdamW
from accel.testing import check_plugin
from accel.values import Positive


@dataclass(eq=False)
class Normalise(Clip):
    """Gradient of a fixed length.

    Args:
        length: 2-norm of the gradient over all parameters.
    """

    length: Positive = 1.0

    def limit(self, grads: Grads) -> Grads:
        # no gradient is touched here: the optimiser divides by the factor in its own pass over memory
        grads.divide_by((grads.norm() / self.length).clamp_(min=1e-12))
        return grads


if __name__ == "__main__":
    check_plugin(Normalise)
    print("Normalise composes with every plugin, in any order")

    torch.manual_seed(0)
    result = Trainer(
        model=net(), data=train_set, val=test_set, loss=loss, metrics=accuracy, epochs=5, device="cpu",
        plugins=[AMP(), AdamW(), Normalise(length=0.5)],
    ).fit()  # fmt: skip
    print(f"accuracy {result.metrics['accuracy']:.3f} after {result.updates} updates")
