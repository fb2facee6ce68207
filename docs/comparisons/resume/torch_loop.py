"""Training loop in plain PyTorch with the checkpoint of its tutorials: model, optimizer, schedule and step.

python torch_loop.py FOLDER
"""

import sys
from pathlib import Path

import torch
from problem import BATCH, SAVE_EVERY, STEPS, ConvNet, Digits, log_batch, optimizer_and_schedule, save_final
from torch import nn

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
torch.manual_seed(0)
model = ConvNet()
optimizer, schedule = optimizer_and_schedule(model)
step = 0
if (folder / "last.pt").exists():
    saved = torch.load(folder / "last.pt")
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    schedule.load_state_dict(saved["schedule"])
    step = saved["step"]

loader = torch.utils.data.DataLoader(Digits(), BATCH, shuffle=True, num_workers=2)
while step < STEPS:
    for batch in loader:
        loss = nn.functional.cross_entropy(model(batch["image"]), batch["labels"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        step += 1
        log_batch(folder, step, batch["index"], loss.item())
        if step % SAVE_EVERY == 0:
            state = {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(),
                "step": step,
            }
            torch.save(state, folder / "last.pt")
        if step == STEPS:
            break
save_final(folder, model)
