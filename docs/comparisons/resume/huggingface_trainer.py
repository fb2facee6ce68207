"""The same training with the Trainer of Hugging Face, resumed by `resume_from_checkpoint`.

python huggingface_trainer.py FOLDER
"""

import sys
from pathlib import Path

from problem import BATCH, SAVE_EVERY, STEPS, ConvNet, Digits, log_batch, optimizer_and_schedule, save_final
from torch import nn
from transformers import Trainer, TrainingArguments, set_seed
from transformers.trainer_utils import get_last_checkpoint

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)


class Logged(Trainer):
    def compute_loss(self, model, inputs, return_outputs=False, **_):
        loss = nn.functional.cross_entropy(model(inputs["image"]), inputs["labels"])
        log_batch(folder, self.state.global_step + 1, inputs["index"], loss.item())
        return (loss, {}) if return_outputs else loss


set_seed(0)
model = ConvNet()
trainer = Logged(
    model=model,
    args=TrainingArguments(
        output_dir=str(folder / "checkpoints"),
        max_steps=STEPS,
        per_device_train_batch_size=BATCH,
        save_steps=SAVE_EVERY,
        max_grad_norm=0.0,
        dataloader_num_workers=2,
        remove_unused_columns=False,
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        seed=0,
    ),
    train_dataset=Digits(),
    optimizers=optimizer_and_schedule(model),
)
checkpoints = folder / "checkpoints"
trainer.train(resume_from_checkpoint=get_last_checkpoint(checkpoints) if checkpoints.exists() else None)
save_final(folder, model)
