"""Speech recognition: what is said in a recording, by connectionist temporal classification (CTC; Graves et al. 2006).

Batches: `frames` float32 [batch, time, mels] and `frames_length` int32 [batch]; `target` int32 [batch, tokens] without
start or end, and `target_length` int32 [batch]; `weight` float32 [batch] (0 on padding), `index` [batch]. Token 0 is
the blank. Predictions need no target.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl.decoding.ctc import BLANK, Transcript, beam_search, greedy
from jaxdl.errors import UserError
from jaxdl.tasks.parts.apply import batch_coupling
from jaxdl.training.task import Array, Evaluation, FunctionTask, Names, Outcome, Phase, PyTree, Term, module_key

GROUP = "recognizer"
_UNKNOWN = 3  # the last of the special tokens: none of them is ever heard
_FOREIGN = "\N{REPLACEMENT CHARACTER}"
_SHOWN = 6


class LanguageModel(Protocol):
    """What helps a beam search; `jaxdl.decoding.ngrams.NGrams`."""

    def following(self, tokenizer: Any) -> Callable[[tuple[int, ...]], np.ndarray]:
        """`(tokens so far) -> [vocabulary]`, the logarithm of the probability of each as the next one."""
        ...


def speech_recognition(
    model: nn.Module,
    *,
    beam: int = 0,
    language_model: LanguageModel | None = None,
    language_weight: float = 0.5,
    token_bonus: float = 1.0,
    batch_coupled: str | None = None,
) -> Any:
    """Trains the group "recognizer" in one phase, "train", by CTC: the loss of a target token, on average.

    A target that has no path, because it needs more steps than there are, is left out of the loss, and counted by the
    metric `impossible`. A target token that the model has no output for makes the loss NaN.

    Args:
      model: `model(frames [batch, time, mels], *, length [batch], train) -> (logits [batch, steps, vocabulary], steps
        [batch])`, how many of the steps are valid.
      beam: 0 decodes greedily, by the most probable path; else prefixes that a beam search keeps, on the host.
      language_model: says which tokens follow which, for the beam search; asked for when something is decoded.
      language_weight, token_bonus: what its log-probability counts for, and what each token is worth, with a language
        model, see `jaxdl.decoding.ctc.beam_search`.
      batch_coupled: as in `image_classification`.

    Evaluation metrics: `loss`, `impossible` (share of the examples), and over all texts `cer` and `wer`, the edits of
    characters and words by the length of what was said. A character of a text that the vocabulary does not know counts
    as one that was not heard.
    Predictions: `path` int32 [batch, steps], the most probable label of each step, `steps` int32 [batch], how many are
    valid; `tokens` int32 [batch, steps] and `length` int32 [batch], what the path stands for; `score` [batch], its
    log-probability; with a beam also `log_probabilities` [batch, steps, vocabulary].

    Raises:
      UserError: a beam below 0, or a language model without a beam.
    """
    if beam < 0:
        raise UserError(f"beam={beam}: must be 0 (greedy) or the number of prefixes to keep")
    if language_model is not None and not beam:
        raise UserError("language_model helps a beam search: set beam=32, or language_model=None to decode greedily")
    search = Search(beam, language_model, language_weight, token_bonus) if beam else None
    return FunctionTask(
        init=functools.partial(_init, model),
        phases=(Phase(name="train", trains=GROUP, loss=functools.partial(_loss, model)),),
        evaluate=functools.partial(_evaluate, model, beam > 0),
        predict=functools.partial(_predict, model, beam > 0),
        score=functools.partial(_score, search),
        draw=functools.partial(_draw, search),
        illustrate=functools.partial(_illustrate, search),
        readable=functools.partial(_readable, search),
        batch_coupled=batch_coupling(model) if batch_coupled is None else batch_coupled,
    )


class Search:
    """A beam search with what helps it; attributes as the arguments of `speech_recognition`."""

    def __init__(self, beam: int, language_model: LanguageModel | None, weight: float, bonus: float):
        self._beam, self._language_model, self._weight, self._bonus = beam, language_model, weight, bonus
        self._known: tuple[Any, Callable[[tuple[int, ...]], np.ndarray]] | None = None  # of the last tokenizer

    def best(self, log_probabilities: np.ndarray, names: Names) -> Transcript:
        """What [steps, vocabulary] most probably stands for."""
        if self._language_model is None:
            return beam_search(log_probabilities, self._beam)[0]
        tokenizer: Any = names.get("target")
        if not hasattr(tokenizer, "encode_all"):
            raise UserError("a language model needs data with a tokenizer; set task.language_model=None")
        if self._known is None or self._known[0] is not tokenizer:
            self._known = tokenizer, self._language_model.following(tokenizer)
        helped = {"language_model": self._known[1], "weight": self._weight, "bonus": self._bonus}
        return beam_search(log_probabilities, self._beam, **helped)[0]


class Losses(NamedTuple):
    """CTC's loss of a batch.

    Attributes:
      loss: [batch] summed over an example's tokens; 0 where it is impossible.
      tokens: float32 [batch] that it was summed over.
      impossible: float32 [batch] 1 where the target has no path.
    """

    loss: Array
    tokens: Array
    impossible: Array


def ctc(logits: Array, steps: Array, target: Array, target_length: Array) -> Losses:
    """Minus the log-probability of each target, summed over its paths.

    Args:
      logits: [batch, steps, vocabulary]; label 0 is the blank.
      steps: int32 [batch], how many are valid; what the others say does not matter, even if it is not finite.
      target: int32 [batch, tokens], of any value where it is not valid.
      target_length: int32 [batch].
    """
    vocabulary = logits.shape[-1]
    absent = jnp.arange(logits.shape[1]) >= steps[:, None]
    filler = jnp.arange(target.shape[1]) >= target_length[:, None]
    logits = jnp.where(absent[..., None], 0.0, logits.astype(jnp.float32))
    target = jnp.where(filler, BLANK, target)
    repeated = jnp.sum((target[:, 1:] == target[:, :-1]) & ~filler[:, 1:], axis=1)
    impossible = target_length + repeated > steps
    # Log-probabilities are picked by a product with one-hot vectors, which accelerators would round to 10 bits or less.
    with jax.default_matmul_precision("highest"):
        loss = optax.ctc_loss(logits, absent.astype(jnp.float32), target, filler.astype(jnp.float32), blank_id=BLANK)
    foreign = jnp.any(~filler & ((target <= BLANK) | (target >= vocabulary)), axis=1)
    loss = jnp.where(impossible, 0.0, jnp.where(foreign, jnp.nan, loss))
    tokens = jnp.where(impossible, 0, target_length).astype(jnp.float32)
    return Losses(loss, tokens, impossible.astype(jnp.float32))


def _init(model: nn.Module, key: Array, batch: Mapping[str, Array]) -> tuple[dict, dict]:
    """(params {group: tree}, variables {group: collections})."""
    length = jnp.asarray(batch["frames_length"])
    collections = dict(model.init(key, jnp.asarray(batch["frames"]), length=length, train=False))
    params = collections.pop("params")
    return {GROUP: params}, {GROUP: collections} if collections else {}


def _apply(
    model: nn.Module, params: PyTree, variables: PyTree, batch: Mapping[str, Array], key: Array | None = None
) -> tuple[Array, Array, PyTree]:
    """Logits float32 [batch, steps, vocabulary], valid steps [batch], new variables; `key` is for training."""
    collections = variables.get(GROUP, {})
    inputs = ({"params": params[GROUP], **collections}, batch["frames"])
    length = batch["frames_length"]
    if key is None:
        told: Any = model.apply(*inputs, length=length, train=False)
        logits, steps = told
        return logits.astype(jnp.float32), steps, variables
    rngs = {"dropout": module_key(key, batch)}
    outputs: Any = model.apply(*inputs, length=length, train=True, rngs=rngs, mutable=list(collections))
    (logits, steps), updated = outputs
    return logits.astype(jnp.float32), steps, {**variables, GROUP: updated} if collections else variables


def _terms(batch: Mapping[str, Array], logits: Array, steps: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """(sum, weight) of the loss, by tokens, and of the impossible targets, by examples."""
    for name in ("target", "target_length"):
        if name not in batch:
            raise UserError(f"speech recognition needs '{name}' in the batch; it has {', '.join(sorted(batch))}")
    losses = ctc(logits, steps, batch["target"], batch["target_length"])
    weight = batch["weight"]
    counted = jnp.where(weight > 0, losses.loss, 0.0)  # a padding row may hold anything
    loss = (jnp.sum(weight * counted), jnp.sum(weight * losses.tokens))
    return loss, (jnp.sum(weight * losses.impossible), jnp.sum(weight))


def _loss(
    model: nn.Module, params: PyTree, variables: PyTree, batch: Mapping[str, Array], key: Array, step: Array
) -> Outcome:
    del step
    logits, steps, variables = _apply(model, params, variables, batch, key)
    loss, impossible = _terms(batch, logits, steps)
    return Outcome({"ctc": Term(*loss)}, variables, {"impossible": impossible})


def _decoded(beam: bool, logits: Array, steps: Array) -> dict[str, Array]:
    """What `predict` puts out; see `speech_recognition`."""
    log_probabilities = jax.nn.log_softmax(logits)
    path = logits.argmax(-1).astype(jnp.int32)
    valid = jnp.arange(path.shape[1]) < steps[:, None]
    tokens, length = greedy(path, steps)
    outputs = {
        "path": jnp.where(valid, path, BLANK),
        "steps": steps.astype(jnp.int32),
        "tokens": tokens,
        "length": length,
        "score": jnp.sum(jnp.where(valid, log_probabilities.max(-1), 0.0), axis=1),
    }
    return {**outputs, "log_probabilities": log_probabilities} if beam else outputs


def _evaluate(
    model: nn.Module, beam: bool, params: PyTree, variables: PyTree, batch: Mapping[str, Array], key: Array
) -> Evaluation:
    del key
    logits, steps, _ = _apply(model, params, variables, batch)
    loss, impossible = _terms(batch, logits, steps)
    outputs = _decoded(beam, logits, steps)
    records = {name: outputs[name] for name in (("steps", "log_probabilities") if beam else ("tokens", "length"))}
    records |= {name: batch[name] for name in ("target", "target_length")}
    return Evaluation({"loss": loss, "impossible": impossible}, records)


def _predict(
    model: nn.Module, beam: bool, params: PyTree, variables: PyTree, batch: Mapping[str, Array], key: Array
) -> dict[str, Array]:
    del key
    logits, steps, _ = _apply(model, params, variables, batch)
    return _decoded(beam, logits, steps)


def _score(
    search: Search | None, records: Mapping[str, Any], metrics: Mapping[str, Any], names: Names
) -> dict[str, float]:
    from jaxdl.metrics.transcription import error_rates

    del metrics
    heard = [_heard(search, {name: value[row] for name, value in records.items()}, names) for row in _rows(records)]
    return error_rates([_said(records, row, names) for row in _rows(records)], [text for text, _ in heard])


def _rows(records: Mapping[str, Any]) -> range:
    return range(len(records["target"]))


def _heard(search: Search | None, outputs: Mapping[str, Any], names: Names) -> tuple[str, float | None]:
    """The text that one example's outputs, without the leading axis, stand for, and its log-probability."""
    if search is not None:
        found = search.best(np.asarray(outputs["log_probabilities"])[: int(outputs["steps"])], names)
        return _text(found.tokens, names), found.log_probability
    score = float(outputs["score"]) if "score" in outputs else None
    return _text(np.asarray(outputs["tokens"])[: int(outputs["length"])], names), score


def _said(records: Mapping[str, Any], row: int, names: Names) -> str:
    """The text of one target; a token that the vocabulary does not know is a sign that is never heard."""
    tokens = np.asarray(records["target"][row])[: int(records["target_length"][row])]
    parts = np.split(tokens, np.flatnonzero(tokens == _UNKNOWN))
    return _FOREIGN.join(_text(part, names) for part in parts)


def _text(tokens: Any, names: Names) -> str:
    """Tokens as text, without the special ones; as numbers where there is no tokenizer."""
    kept = [int(token) for token in tokens if token > _UNKNOWN]
    tokenizer: Any = names.get("target")
    return tokenizer.decode(kept) if hasattr(tokenizer, "decode") else " ".join(map(str, kept))


def _labels(outputs: Mapping[str, Any], names: Names) -> list[str]:
    """What each valid step of the path says, "" for the blank."""
    tokens = names.get("target", ())
    path = np.asarray(outputs["path"])[: int(outputs["steps"])].tolist()
    return ["" if each == BLANK else str(tokens[each] if each < len(tokens) else each) for each in path]


def _readable(
    search: Search | None, example: Mapping[str, Any], outputs: Mapping[str, Any], names: Names
) -> dict[str, str | float | None]:
    del example
    text, score = _heard(search, outputs, names)
    return {"text": text, "score": None if score is None else round(score, 4)}


def _illustrate(
    search: Search | None, example: Mapping[str, Any], outputs: Mapping[str, Any], names: Names
) -> np.ndarray:
    """The spectrum of one example, what was heard, and where."""
    from jaxdl.viz.speech import transcript_picture

    frames = np.asarray(example["frames"])[: int(example["frames_length"])]
    return transcript_picture(frames, _heard(search, outputs, names)[0], _labels(outputs, names))


def _draw(
    search: Search | None,
    batch: Mapping[str, Any],
    outputs: Mapping[str, Any],
    metrics: Mapping[str, Any],
    names: Names,
) -> dict[str, np.ndarray]:
    """`transcripts`: up to 6 spectra, one below the other, each with what was heard, and where, and what was said."""
    from jaxdl.viz.speech import transcript_picture

    del metrics
    pictures = []
    for row in np.flatnonzero(np.asarray(batch["weight"]) > 0)[:_SHOWN]:
        one = {name: np.asarray(value)[row] for name, value in outputs.items()}
        frames = np.asarray(batch["frames"])[row, : int(batch["frames_length"][row])]
        said = _said(batch, row, names) if "target" in batch else None
        pictures.append(transcript_picture(frames, _heard(search, one, names)[0], _labels(one, names), said))
    return {"transcripts": np.concatenate(pictures)}
