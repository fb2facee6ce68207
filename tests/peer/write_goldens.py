"""Writes tests/golden/huggingface: small transformers checkpoints, inputs and logits.

Run: python tests/peer/write_goldens.py   (needs the peer extra)
"""

import json
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.numpy import save_file
from test_huggingface_torch import KINDS, inputs, peer, their_logits

FOLDER = Path(__file__).parents[1] / "golden" / "huggingface"
SMALL = {
    "vocab_size": 24,
    "hidden_size": 8,
    "n_embd": 8,
    "d_model": 8,
    "intermediate_size": 12,
    "d_ff": 12,
    "d_kv": 3,
    "num_hidden_layers": 1,
    "num_layers": 2,
    "n_layer": 1,
    "num_attention_heads": 4,
    "num_heads": 2,
    "n_head": 4,
    "embedding_size": 4,
    "depths": [1, 1],
    "head_dim": 4,
    "n_positions": 8,
    "max_position_embeddings": 8,
}
SIZES = {"resnet": {"hidden_sizes": [16, 32]}, "resnet basic": {"hidden_sizes": [4, 8]}}


def main() -> None:
    for kind, (model_type, name, settings) in list(KINDS.items()):
        small = {**settings, **{key: SMALL[key] for key in settings if key in SMALL}, **SIZES.get(kind, {})}
        KINDS[kind] = (model_type, name, small)
        model = peer(kind)
        arguments = tuple(array % 24 if array.ndim == 2 else array[:, :32, :32] for array in inputs(kind))
        arguments = tuple(array[:, :6] if array.ndim == 2 else array[:1] for array in arguments)
        folder = FOLDER / kind.replace(" ", "_")
        model.save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
        arrays = {f"input{number}": np.ascontiguousarray(array) for number, array in enumerate(arguments)}
        save_file(
            {**arrays, "logits": np.ascontiguousarray(their_logits(model, arguments))}, folder / "expected.safetensors"
        )
        for file in folder.iterdir():
            file.chmod(0o644)
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    (FOLDER / "versions.json").write_text(json.dumps(versions) + "\n")


if __name__ == "__main__":
    main()
