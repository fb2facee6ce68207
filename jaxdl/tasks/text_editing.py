"""Text editing: which words of a text stay, so that another text is left (Malmi et al. 2019, arXiv:1909.01187).

Batches: as in `jaxdl.tasks.token_classification`, `label` 1 where a word stays and 0 where it is dropped; and `whole`
int32 [batch], 0 where what is wanted is not what stays.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from jaxdl.tasks.token_classification import token_classification
from jaxdl.training.task import Array, Evaluation, Names, PyTree

SPACE = "\N{NO-BREAK SPACE}"  # stands for a space inside a word


def text_editing(model: nn.Module, *, accepted: Callable[[Sequence[str]], float | None] | None = None) -> Any:
    """Trains the group "tagger" in one phase, "train", by cross-entropy over words.

    Args:
      model: `model(tokens, *, length, train) -> logits [batch, time, 2]`, such as
        `jaxdl.models.bert.TokenClassifier`.
      accepted: the share of texts that something else accepts, such as `jaxdl.metrics.javascript.accepted`; None where
        it cannot say.

    Evaluation metrics: `loss` (nats a word), `accuracy` (share of words), `exact_match` (share of texts that are left
    as they should be), and `accepted` where that is asked and can be said.
    Predictions: `label` and `probability` as in `token_classification`.

    Raises:
      UserError: as in `token_classification`.
    """
    tagging = token_classification(model, entities=False)

    def evaluate(params: PyTree, variables: PyTree, batch: Mapping[str, Array], key: Array) -> Evaluation:
        metrics = tagging.evaluate(params, variables, batch, key).metrics
        found = tagging.predict(params, variables, batch, key)["label"]
        records = {name: batch[name] for name in ("tokens", "tokens_length", "label", "whole")}
        return Evaluation(metrics, {**records, "found": found.astype(jnp.int32)})

    def score(records: Mapping[str, Any], metrics: Mapping[str, float], names: Names) -> dict[str, float]:
        del metrics
        if not records:
            return {}
        made, wanted = ([], [])
        for row in range(len(records["tokens"])):
            example = {name: records[name][row] for name in ("tokens", "tokens_length", "label")}
            made.append(edited(example, records["found"][row], names))
            wanted.append(edited(example, records["label"][row], names))
        right = [one == other and whole for one, other, whole in zip(made, wanted, records["whole"])]
        share = None if accepted is None else accepted(made)
        return {"exact_match": float(np.mean(right)), **({} if share is None else {"accepted": share})}

    return dataclasses.replace(tagging, evaluate=evaluate, score=score, readable=_readable, draw=_draw)


def edited(example: Mapping[str, Any], label: Any, names: Names) -> str:
    """The words that stay, with a space between."""
    from jaxdl.viz.language import text_of

    tokens, starts = np.asarray(example["tokens"]), np.flatnonzero(np.asarray(example["label"]) >= 0)
    ends = [*starts[1:], int(example["tokens_length"])]
    stays = np.asarray(label)[starts] > 0
    words = [text_of(tokens[start:end], names.get("tokens")) for start, end, stay in zip(starts, ends, stays) if stay]
    return " ".join(word.strip(" ") for word in words).replace(SPACE, " ")


def _readable(example: Mapping[str, Any], outputs: Mapping[str, Any], names: Names) -> dict[str, Any]:
    return {"edited": edited(example, outputs["label"], names)}


def _draw(
    batch: Mapping[str, Any], outputs: Mapping[str, Any], metrics: Mapping[str, Any], names: Names
) -> dict[str, np.ndarray]:
    """`edits`: up to 8 texts, what was left of each, and what should be."""
    from jaxdl.viz.text import translation_table

    del metrics
    rows = np.flatnonzero(np.asarray(batch["weight"]) > 0)[:8]
    columns: tuple[list[str], list[str], list[str]] = ([], [], [])
    for row in rows:
        example = {name: np.asarray(batch[name])[row] for name in ("tokens", "tokens_length", "label")}
        everything = np.ones_like(example["label"])
        for column, label in zip(columns, (everything, outputs["label"][row], example["label"])):
            column.append(edited(example, label, names))
    return {"edits": translation_table(*columns)}
