"""Explains a Transformer on texts: attention maps, nearest tokens, token probabilities."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import fiddle as fdl
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.config.serialize import from_json
from jaxdl.data.text.special_tokens import SPECIALS, UNKNOWN
from jaxdl.data.text.tokenizers import Tokenizer
from jaxdl.errors import UserError, write_errors
from jaxdl.home import expanded
from jaxdl.models.layers.attention import SEEN
from jaxdl.runs.files import write_png
from jaxdl.runs.folder import RunFolder
from jaxdl.runs.inference import inputs_of
from jaxdl.runs.places import output_folder
from jaxdl.runs.restore import load_trained
from jaxdl.viz.attention import attention_page, neighbour_page, neighbours, probability_page

LONGEST = 128  # tokens of a text


def run(
    path: str,
    texts: Sequence[str],
    step: int | None = None,
    output: str | None = None,
    files: Sequence[str] = (),
) -> list[Path]:
    """Draws a Transformer's attention on texts and prints the paths of the pictures.

    For text number i: `<step>_<i>_attention.png`, the attention map of each head of each layer;
    `<step>_<i>_neighbours.png`, the tokens with the nearest embeddings by cosine similarity; and for a language model
    `<step>_<i>_probabilities.png`.

    Args:
      path: Run folder.
      texts: Texts, or questions about the files, tokenized as for prediction and truncated to 128 tokens.
      step: Checkpoint. None: the one of `Experiment.select`.
      output: Folder to write into. None: RUN/explanations.
      files: Text files, for a run on texts and questions.

    Returns:
      The paths of the pictures.

    Raises:
      UserError: A run that cannot be read, a model without tokens or attention, or a text of fewer than 2 tokens.
    """
    task = from_json(RunFolder.open(path).config(), f"{path}/config.json").config.task
    trained = load_trained(path, step)
    tokenizer = trained.names.get("tokens")
    model: Any = fdl.build(task.model) if "model" in task.__arguments__ else None
    if not isinstance(tokenizer, Tokenizer) or model is None:
        raise UserError(f"{path} does not take tokens; pass image files instead of --text")
    if trained.experiment.ensemble is not None:
        raise UserError(f"{path} is an ensemble, but attention is that of one model; explain a run without ensemble")
    params, variables = jax.device_get(trained.state.evaluated)
    (group, weights), *_ = params.items()
    inputs = {"params": weights, **variables.get(group, {})}
    embedding = _embedding(weights)
    folder = expanded(output) if output else output_folder(path, "explanations")
    with write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    mask = trained.task.presentation.mask
    for number, one in enumerate(inputs_of(trained, path).read(files, texts)):
        ids = _ids(one.example)[:LONGEST]
        if len(ids) < 2:
            raise UserError(f"'{one.name[:60]}' has fewer than 2 tokens; give a longer text")
        outputs, intermediates = model.apply(inputs, jnp.asarray(ids)[None], train=False, mutable=[SEEN])
        tokens = _token_texts(tokenizer, ids, mask)
        layers = _layers(intermediates.get(SEEN, {}))
        if not layers:
            raise UserError(f"{path} has no attention to draw: its model is not a Transformer of jaxdl.models")
        # Outputs of a causal model are the logits of the next token.
        logits = outputs[0][0] if trained.task.causal is not None else None
        pages = _pages(tokenizer, ids, tokens, layers, logits, embedding)
        stem = f"{int(trained.state.step)}_{number}"
        command = "explain" if output else ""
        written += [write_png(folder / f"{stem}_{name}.png", picture, command) for name, picture in pages.items()]
    print("".join(f"{picture}\n" for picture in written), end="")
    return written


def _pages(
    tokenizer: Tokenizer,
    ids: np.ndarray,
    tokens: Sequence[str],
    layers: Sequence[np.ndarray],
    logits: jax.Array | None,
    embedding: np.ndarray | None,
) -> dict[str, np.ndarray]:
    """Draws the pages of one text.

    Args:
      tokenizer: Tokenizer.
      ids, tokens: [n], ids and texts of the tokens.
      layers: Attention [heads, n, n] of each layer.
      logits: [n, vocabulary], of the next token. None: not a language model.
      embedding: [vocabulary, features]. None: not found.
    """
    pages = {"attention": attention_page(layers, tokens)}
    if logits is not None:
        probabilities = np.asarray(jax.nn.softmax(logits))[np.arange(len(ids) - 1), ids[1:]]
        pages["probabilities"] = probability_page(tokens, [math.nan, *probabilities.tolist()])
    if embedding is not None:
        rows = [(tokenizer[token], neighbours(embedding, token)) for token in dict.fromkeys(ids.tolist())]
        named = [(token, [(tokenizer[other], cosine) for other, cosine in others]) for token, others in rows]
        pages["neighbours"] = neighbour_page(named)
    return pages


def _ids(example: Mapping[str, np.ndarray]) -> np.ndarray:
    """Returns the token ids of an example without padding."""
    tokens = np.asarray(example["tokens"])
    return tokens[: int(example.get("tokens_length", len(tokens)))]


def _token_texts(tokenizer: Tokenizer, ids: np.ndarray, mask: str | None) -> list[str]:
    """Returns the text of each token; special tokens have their names, and masks that of the mask."""
    texts, start = [], 0
    for end, token in enumerate(ids.tolist()):
        if token < len(SPECIALS):
            texts.append(mask if mask and token == UNKNOWN else tokenizer[token])
            start = end + 1
        else:
            before, after = (tokenizer.decode(ids[start:stop]) for stop in (end, end + 1))
            texts.append(after[len(before) :])
    return texts


def _layers(intermediates: Any) -> list[np.ndarray]:
    """Returns the attention [heads, n, n] of each layer in order; a scanned stack has one array for its layers."""
    layers: list[np.ndarray] = []

    def walk(tree: Any) -> None:
        for name, value in sorted(tree.items(), key=lambda item: int("0" + re.sub(r"\D", "", item[0]))):
            if name == "weights":
                array = np.asarray(value[0])
                layers.extend(array[:, 0] if array.ndim == 5 else array)
            elif hasattr(value, "items"):
                walk(value)

    walk(intermediates)
    return layers


def _embedding(weights: Any) -> np.ndarray | None:
    """Finds the token embedding [vocabulary, features] in the parameters."""
    for name, value in weights.items():
        if name == "word":
            return np.asarray(value["embedding"])
        embedding = _embedding(value) if hasattr(value, "items") else None
        if embedding is not None:
            return embedding
    return None
