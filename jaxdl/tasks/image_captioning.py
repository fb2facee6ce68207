"""Image captioning: a sentence about an image, by an encoder-decoder with cross-entropy.

Batches: `image` uint8 [batch, height, width, channels]; `target` and `target_length`, `weight`, `index` as in
`jaxdl.tasks.parts.seq2seq`.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from jaxdl.errors import UserError
from jaxdl.tasks.parts.apply import batch_coupling, normalize_images
from jaxdl.tasks.parts.seq2seq import Generator, references, shown, texts
from jaxdl.training.task import Array, FunctionTask, Names, Phase, PyTree

GROUP = "captioner"
LONGEST = 40  # tokens of a caption, where nothing else says how many


def image_captioning(
    model: nn.Module,
    *,
    mean: float | Sequence[float] = 0.5,
    std: float | Sequence[float] = 0.25,
    label_smoothing: float = 0.1,
    beam: int = 1,
    length_penalty: float = 0.6,
    max_length: int | None = None,
    metrics: tuple[str, ...] = ("bleu", "chrf"),
    decode_in_evaluation: bool = True,
    batch_coupled: str | None = None,
) -> Any:
    """Trains the group "captioner" in one phase, "train", by cross-entropy with teacher forcing.

    Args:
      model: see `jaxdl.tasks.parts.seq2seq.Generator`; its inputs are images float [batch, h, w, c], length None.
      mean, std: of `image / 255`; a number or one a channel.
      label_smoothing, beam, length_penalty, metrics, decode_in_evaluation, batch_coupled: as in `translation`.
      max_length: tokens of a caption, <end> counted; None: in evaluation as many as the padded target has after
        <start>, in predictions 40.

    Evaluation metrics: `loss` (a token, without smoothing), `token_accuracy`; of the decoded captions `bleu`, `chrf` (0
    to 100, sacrebleu's), `exact_match` (0 to 1), as asked. As in `translation`, references are decoded from ids.
    Predictions: `tokens` int32 [batch, max_length], `length` int32 [batch], `score` [batch], the log-probability.

    Raises:
      UserError: an argument out of range.
    """
    if np.any(np.asarray(std) <= 0.0):
        raise UserError(f"std={std}: must be positive")
    inputs = functools.partial(_inputs, mean, std)
    generator = Generator(
        GROUP, model, inputs, label_smoothing, beam, length_penalty, max_length, tuple(metrics), decode_in_evaluation
    )
    return FunctionTask(
        init=generator.init,
        phases=(Phase(name="train", trains=GROUP, loss=generator.loss),),
        evaluate=generator.evaluate,
        predict=functools.partial(_predict, generator),
        score=generator.score,
        draw=_draw,
        illustrate=_illustrate,
        readable=_readable,
        batch_coupled=batch_coupling(model) if batch_coupled is None else batch_coupled,
    )


def _inputs(
    mean: float | Sequence[float], std: float | Sequence[float], batch: Mapping[str, Array]
) -> tuple[Array, None]:
    return normalize_images(jnp.asarray(batch["image"]), mean=mean, std=std), None


def _predict(
    generator: Generator, params: PyTree, variables: PyTree, batch: Mapping[str, Array], key: Array
) -> dict[str, Array]:
    del key
    return generator.predict(params, variables, batch, LONGEST)


def _caption(outputs: Mapping[str, Any], names: Names) -> str:
    return texts(np.asarray(outputs["tokens"])[None], np.asarray(outputs["length"])[None], names.get("target"))[0]


def _readable(example: Mapping[str, Any], outputs: Mapping[str, Any], names: Names) -> dict[str, Any]:
    del example
    return {"caption": _caption(outputs, names), "score": round(float(outputs["score"]), 4)}


def _illustrate(example: Mapping[str, Any], outputs: Mapping[str, Any], names: Names) -> np.ndarray:
    """The image with its caption below."""
    from jaxdl.viz.text import caption_grid

    return caption_grid(np.asarray(example["image"])[None], [_caption(outputs, names)])


def _draw(
    batch: Mapping[str, Any], outputs: Mapping[str, Any], metrics: Mapping[str, Any], names: Names
) -> dict[str, np.ndarray]:
    """`captions`: up to 12 images, each with its caption and its reference."""
    from jaxdl.viz.text import caption_grid

    del metrics
    rows = shown(batch, 12, "image")
    made = texts(np.asarray(outputs["tokens"])[rows], np.asarray(outputs["length"])[rows], names.get("target"))
    return {"captions": caption_grid(np.asarray(batch["image"])[rows], made, references(batch, rows, names))}
