"""Train a task of your own: a subclass of Trainer, defined in mine.py.

The class takes plugins as Trainer does, and is a task on the command line too:

cd examples; python -m accel.train task._target_=mine.Digits task.width=64 epochs=5 +plugins=[amp,adamw,onecycle]
"""

from mine import Digits

from accel.plugins import AMP, AdamW, OneCycle

result = Digits(width=64, plugins=[AMP(), AdamW(), OneCycle(max_lr=0.01)], epochs=5, device="cpu").fit()

print(f"accuracy {result.metrics['accuracy']:.3f} after {result.updates} updates")
