"""`launch.py explain RUN --text=...`: what a Transformer does with a text."""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fiddle as fdl
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.config import serialize
from jaxdl.data.text.tokenizers import Tokenizer
from jaxdl.errors import UserError
from jaxdl.models.layers.attention import SEEN
from jaxdl.runs.files import write_errors, write_png
from jaxdl.runs.folder import RunFolder
from jaxdl.runs.restore import load_trained
from jaxdl.viz.attention import attention_page, neighbour_page, neighbours, probability_page

LONGEST = 128  # tokens of a text that are looked at


def run(path: str, texts: Sequence[str], step: int | None = None, output: str | None = None) -> list[Path]:
    """Draws what a decoder or encoder does with texts, and prints the paths of the pictures.

    For text number i: `<step>_<i>_attention.png`, a map for each head of each layer; `<step>_<i>_neighbours.png`, the
    tokens whose vectors are most like those of the text's; and of a language model `<step>_<i>_probabilities.png`.

    Args:
      path: the run folder.
      texts: of each the first 128 tokens are looked at.
      step: the checkpoint; None for the newest.
      output: the folder to write into; None for RUN/explanations.

    Returns:
      the pictures' paths.

    Raises:
      UserError: a run that cannot be read, a model that reads no text or has no attention, a text without a token.
    """
    task = serialize.from_json(RunFolder.open(path).config(), f"{path}/config.json").config.task
    trained = load_trained(path, step)
    tokenizer = trained.names.get("tokens")
    model: Any = fdl.build(task.model) if "model" in task.__arguments__ else None
    if not isinstance(tokenizer, Tokenizer) or model is None:
        raise UserError(f"{path} does not read texts as tokens: explain it with files, without --text")
    params, variables = jax.device_get(trained.state.evaluated)
    (group, weights), *_ = params.items()
    inputs = {"params": weights, **variables.get(group, {})}
    table = _table(weights)
    folder = Path(output).expanduser() if output else Path(path) / "explanations"
    with write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for number, text in enumerate(texts):
        ids = tokenizer.encode(text)[:LONGEST]
        if len(ids) < 2:
            raise UserError(f"'{text[:60]}' has fewer than 2 tokens; give a longer text")
        outputs, seen = model.apply(inputs, jnp.asarray(ids)[None], train=False, mutable=[SEEN])
        shown = [tokenizer.decode(ids[: place + 1])[len(tokenizer.decode(ids[:place])) :] for place in range(len(ids))]
        layers = _layers(seen.get(SEEN, {}))
        if not layers:
            raise UserError(f"{path} has no attention to draw: its model is no Transformer of jaxdl.models")
        pages = {"attention": attention_page(layers, shown)}
        if trained.experiment.task.causal is not None:  # then outputs[0] says what follows each token
            chances = np.asarray(jax.nn.softmax(outputs[0][0]))[np.arange(len(ids) - 1), ids[1:]]
            pages["probabilities"] = probability_page(shown, [math.nan, *chances.tolist()])
        if table is not None:
            rows = [(tokenizer[each], neighbours(table, each)) for each in dict.fromkeys(ids.tolist())]
            named = [(token, [(tokenizer[other], cosine) for other, cosine in others]) for token, others in rows]
            pages["neighbours"] = neighbour_page(named)
        stem = f"{int(trained.state.step)}_{number}"
        written += [write_png(folder / f"{stem}_{name}.png", picture) for name, picture in pages.items()]
    print("".join(f"{picture}\n" for picture in written), end="")
    return written


def _layers(seen: Any) -> list[np.ndarray]:
    """[heads, n, n] of each layer, in their order; those of a scanned stack lie in one array."""
    found: list[np.ndarray] = []

    def walk(tree: Any) -> None:
        for name, value in sorted(tree.items(), key=lambda item: int("0" + re.sub(r"\D", "", item[0]))):
            if name == "weights":
                array = np.asarray(value[0])
                found.extend(array[:, 0] if array.ndim == 5 else array)
            elif hasattr(value, "items"):
                walk(value)

    walk(seen)
    return found


def _table(weights: Any) -> np.ndarray | None:
    """The vectors of tokens [vocabulary, features], wherever the model has them."""
    for name, value in weights.items():
        if name == "word":
            return np.asarray(value["embedding"])
        found = _table(value) if hasattr(value, "items") else None
        if found is not None:
            return found
    return None
