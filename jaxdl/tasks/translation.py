"""Translation, and whatever else makes one sequence of tokens of another: an encoder-decoder with cross-entropy.

Batches: `source` int32 [batch, time], ends with <end>, and `source_length` int32 [batch]; `target` and `target_length`,
`weight`, `index` as in `jaxdl.tasks.parts.seq2seq`, which also says how pairs are packed.
"""

import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import numpy as np

from jaxdl.tasks.parts.apply import batch_coupling
from jaxdl.tasks.parts.seq2seq import Generator, references, shown, texts
from jaxdl.training.task import Array, FunctionTask, Names, Phase, PyTree

GROUP = "translator"


def translation(
    model: nn.Module,
    *,
    label_smoothing: float = 0.1,
    beam: int = 1,
    length_penalty: float = 0.6,
    max_length: int | None = None,
    metrics: tuple[str, ...] = ("bleu", "chrf", "exact_match"),
    decode_in_evaluation: bool = True,
    batch_coupled: str | None = None,
) -> Any:
    """Trains the group "translator" in one phase, "train", by cross-entropy with teacher forcing.

    Args:
      model: see `jaxdl.tasks.parts.seq2seq.Generator`; its inputs are source tokens [batch, time] with their length.
      label_smoothing: share of the target spread evenly over the vocabulary (arXiv:1512.00567), in [0, 1).
      beam: 1 decodes greedily; above, the width of a beam.
      length_penalty: of the beam (GNMT, arXiv:1609.08144).
      max_length: tokens of a translation, <end> counted; None: in evaluation as many as the padded target has after
        <start>, in predictions twice the padded source and 10.
      metrics: of what is decoded in evaluation.
      decode_in_evaluation: False leaves them out, and the time that they take.
      batch_coupled: as in `image_classification`.

    Evaluation metrics: `loss` (a token, without smoothing), `token_accuracy`; of the decoded texts `bleu`, `chrf` (0 to
    100, sacrebleu's), `rouge_l` (0 to 100), `exact_match`, `python_parses`, `python_compiles` (0 to 1), as asked. Texts
    and references are both decoded from ids: what the target's vocabulary cannot write (<unknown>) is in neither.
    Predictions: `tokens` int32 [batch, max_length], `length` int32 [batch], `score` [batch], the log-probability.

    Raises:
      UserError: an argument out of range.
    """
    generator = Generator(
        GROUP, model, _inputs, label_smoothing, beam, length_penalty, max_length, tuple(metrics), decode_in_evaluation
    )
    return FunctionTask(
        init=generator.init,
        phases=(Phase(name="train", trains=GROUP, loss=generator.loss),),
        evaluate=generator.evaluate,
        predict=functools.partial(_predict, generator),
        score=generator.score,
        draw=_draw,
        readable=_readable,
        batch_coupled=batch_coupling(model) if batch_coupled is None else batch_coupled,
    )


def _inputs(batch: Mapping[str, Array]) -> tuple[Array, Array | None]:
    return batch["source"], batch.get("source_length")


def _predict(
    generator: Generator, params: PyTree, variables: PyTree, batch: Mapping[str, Array], key: Array
) -> dict[str, Array]:
    del key
    return generator.predict(params, variables, batch, 2 * batch["source"].shape[1] + 10)


def _readable(example: Mapping[str, Any], outputs: Mapping[str, Any], names: Names) -> dict[str, Any]:
    del example
    text = texts(np.asarray(outputs["tokens"])[None], np.asarray(outputs["length"])[None], names.get("target"))[0]
    return {"translation": text, "score": round(float(outputs["score"]), 4)}


def _draw(
    batch: Mapping[str, Any], outputs: Mapping[str, Any], metrics: Mapping[str, Any], names: Names
) -> dict[str, np.ndarray]:
    """`translations`: up to 8 sources, each with what was made of it and its reference."""
    from jaxdl.viz.text import translation_table

    del metrics
    rows = shown(batch, 8, "source")
    sources = texts(np.asarray(batch["source"])[rows], np.asarray(batch["source_length"])[rows], names.get("source"))
    made = texts(np.asarray(outputs["tokens"])[rows], np.asarray(outputs["length"])[rows], names.get("target"))
    return {"translations": translation_table(sources, made, references(batch, rows, names))}
