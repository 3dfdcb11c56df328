"""Train the head alone for the first half of the run, and then everything."""

import lightning as L
import torch
from digits import accuracy, loss, net, test_set, train_set
from lightning.pytorch.callbacks import BaseFinetuning
from torch.utils.data import DataLoader


class Classifier(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = net()

    def training_step(self, batch, index):
        return loss(self.net, batch)

    def validation_step(self, batch, index):
        self.log_dict(accuracy(self.net, batch))

    def configure_optimizers(self):
        return torch.optim.AdamW([param for param in self.parameters() if param.requires_grad], lr=1e-3)


class Thaw(BaseFinetuning):  # between two epochs, not at any update
    def freeze_before_training(self, module):
        self.freeze(module.net[:6])

    def finetune_function(self, module, epoch, optimizer):
        if epoch == 1:
            self.unfreeze_and_add_param_group(module.net[:6], optimizer, initial_denom_lr=1.0)


L.seed_everything(0)
trainer = L.Trainer(
    max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
    enable_model_summary=False, callbacks=[Thaw()],
)  # fmt: skip
trainer.fit(Classifier(), DataLoader(train_set, batch_size=32, shuffle=True), DataLoader(test_set, batch_size=32))
print(f"accuracy {trainer.callback_metrics['accuracy']:.3f} by all")
