"""The same training with Lightning's Trainer, resumed by its `ckpt_path`.

python lightning_trainer.py FOLDER
"""

import sys
from pathlib import Path

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from problem import BATCH, SAVE_EVERY, STEPS, ConvNet, Digits, log_batch, optimizer_and_schedule, save_final
from torch import nn

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)


class Classifier(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.model = ConvNet()

    def training_step(self, batch, _):
        loss = nn.functional.cross_entropy(self.model(batch["image"]), batch["labels"])
        log_batch(folder, self.global_step + 1, batch["index"], loss.item())
        return loss

    def configure_optimizers(self):
        optimizer, schedule = optimizer_and_schedule(self.model)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


lightning.seed_everything(0, workers=True)
loader = torch.utils.data.DataLoader(Digits(), BATCH, shuffle=True, num_workers=2, persistent_workers=True)
trainer = lightning.Trainer(
    accelerator="cpu",
    max_steps=STEPS,
    default_root_dir=folder,
    callbacks=[ModelCheckpoint(dirpath=folder / "checkpoints", every_n_train_steps=SAVE_EVERY, save_last=True)],
    logger=False,
    enable_progress_bar=False,
    deterministic=True,
)
classifier = Classifier()
last = folder / "checkpoints/last.ckpt"
trainer.fit(classifier, loader, ckpt_path=str(last) if last.exists() else None, weights_only=False)
save_final(folder, classifier.model)
