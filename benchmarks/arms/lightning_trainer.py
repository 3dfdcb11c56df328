"""Lightning's Trainer, with logging, progress bar, checkpoints and model summary off."""

from __future__ import annotations

import logging
import warnings
from tempfile import TemporaryDirectory
from typing import Any

import lightning
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.optim.swa_utils import get_ema_multi_avg_fn
from work import ACCUMULATE, CLIP, DECAY, Work

for name in ("lightning.pytorch", "lightning.fabric"):
    logging.getLogger(name).setLevel(logging.ERROR)


class Average(WeightAveraging):
    """An average that starts from the initial weights, as everyone else's does; Lightning's own starts from the first update's."""

    def setup(self, *args: Any, **kwargs: Any) -> None:
        super().setup(*args, **kwargs)
        assert self._average_model is not None
        self._average_model.n_averaged.fill_(1)


class Module(lightning.LightningModule):
    def __init__(self, work: Work) -> None:
        super().__init__()
        self.work, self.net = work, work.model

    def training_step(self, batch: Any, index: int) -> Tensor:
        x, y = batch
        return cross_entropy(self.net(x), y)

    def configure_optimizers(self) -> Any:
        # Lightning refuses to clip in front of a fused optimiser
        optimizer = self.work.optimizer(fused=not self.work.on)
        if not self.work.on:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self.work.onecycle(optimizer), "interval": "step"}}


def arm(work: Work) -> list[Tensor]:
    settings: dict[str, Any] = {}
    if work.on:
        settings = {
            "accumulate_grad_batches": ACCUMULATE,
            "gradient_clip_val": CLIP,
            "precision": "bf16-mixed",
            "callbacks": [Average(multi_avg_fn=get_ema_multi_avg_fn(DECAY))],
        }
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = lightning.Trainer(
            max_epochs=1, accelerator="cpu", devices=1, default_root_dir=folder, logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, **settings,
        )  # fmt: skip
        trainer.fit(Module(work), work.batches)
    # WeightAveraging hands its average to the model at the end
    return list(work.model.parameters())
