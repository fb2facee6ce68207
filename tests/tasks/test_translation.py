"""Translation: loss against numpy, teacher forcing, padding, scores, pictures, errors."""

import functools
import types
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sacrebleu
from modules import apply, random_weights

from jaxdl.data.text.special_tokens import END, PAD, START, UNKNOWN
from jaxdl.errors import UserError
from jaxdl.metrics.translation import (
    bleu,
    chrf,
    edit_similarity,
    exact_match,
    python_compiles,
    python_parses,
    rouge_l,
)
from jaxdl.tasks.translation import Translation
from jaxdl.viz.language import decode_texts
from jaxdl.viz.text import translation_table, wrap

SOURCES, TARGETS, TIME, LENGTH = 9, 11, 5, 7
KEY = jax.random.key(0)


class Small(nn.Module):
    """Encoder-decoder with the sum of valid source tokens and a recurrent decoder cell."""

    width: int = 8
    vocabulary: int = TARGETS
    dropout: float = 0.0

    def setup(self):
        self.source = nn.Embed(SOURCES, self.width)
        self.target = nn.Embed(self.vocabulary, self.width)
        self.cell = nn.GRUCell(self.width)
        self.out = nn.Dense(self.vocabulary, kernel_init=nn.initializers.normal(1.0))
        self.drop = nn.Dropout(self.dropout)

    def encode(self, inputs, *, length=None, train=False):
        assert length is not None
        valid = jnp.arange(inputs.shape[1]) < length[:, None]
        return jnp.sum(jnp.where(valid[..., None], self.source(inputs), 0.0), axis=1)

    def start(self, memory):
        return jnp.tanh(memory)

    def decode(self, memory, carry, token):
        carry, hidden = self.cell(carry, self.target(token) + memory)
        return self.out(hidden), carry

    def __call__(self, inputs, target, *, length=None, train):
        memory = self.encode(inputs, length=length)
        carry, logits = self.start(memory), []
        for index in range(target.shape[1]):
            logits_now, carry = self.decode(memory, carry, target[:, index])
            logits.append(logits_now)
        return self.drop(jnp.stack(logits, axis=1), deterministic=not train)


class Letters:
    """Tokenizer with one letter per token: 4 is a, 5 is b."""

    def __len__(self):
        return TARGETS

    def decode(self, ids):
        text = ""
        for token in ids:
            if token == END:
                break
            text += "" if token < 4 else chr(ord("a") + int(token) - 4)
        return text


NAMES: Any = {"source": Letters(), "target": Letters()}


def make_batch(size=6, seed=0):
    random = np.random.default_rng(seed)
    source_length = random.integers(1, TIME + 1, size).astype(np.int32)
    target_length = random.integers(2, LENGTH + 1, size).astype(np.int32)
    source = random.integers(4, SOURCES, (size, TIME)).astype(np.int32)
    target = random.integers(4, TARGETS, (size, LENGTH)).astype(np.int32)
    target[:, 0] = START
    target[np.arange(size), target_length - 1] = END
    source[np.arange(TIME) >= source_length[:, None]] = PAD
    target[np.arange(LENGTH) >= target_length[:, None]] = PAD
    return {
        "source": source,
        "source_length": source_length,
        "target": target,
        "target_length": target_length,
        "weight": np.ones(size, np.float32),
        "index": np.arange(size, dtype=np.int32),
    }


def with_garbage(batch):
    """Replaces the padding of a batch by other numbers, also by invalid tokens."""
    source, target = batch["source"].copy(), batch["target"].copy()
    source[np.arange(TIME) >= batch["source_length"][:, None]] = 7
    target[np.arange(LENGTH) >= batch["target_length"][:, None]] = 999
    return {**batch, "source": source, "target": target}


@functools.cache
def prepared(**arguments):
    return compiled(Translation(Small(), **arguments))


def compiled(task):
    """Compiles a task; returns it with its parameters and variables."""
    methods = {name: jax.jit(getattr(task, name)) for name in ("loss", "evaluate", "predict")}
    params, variables = random_weights(task.init, make_batch())
    return types.SimpleNamespace(**methods, score=task.score, presentation=task.presentation), params, variables


def log_softmax(logits):
    return logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)


def teacher_forced(params, batch):
    """Computes log-probabilities [batch, length - 1, vocabulary] in float64."""
    variables, inputs = {"params": params["translator"]}, (batch["source"], batch["target"][:, :-1])
    logits = apply(Small(), variables, *inputs, length=batch["source_length"], train=False)
    return log_softmax(np.asarray(logits, np.float64))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_matches_numpy(smoothing):
    task, params, variables = prepared(label_smoothing=smoothing)
    batch = make_batch()
    batch["weight"] = np.array([1, 1, 0.5, 2, 1, 0], np.float32)
    assert variables == {}
    outcome = task.loss(params, variables, batch, jax.random.key(1), 0, {})
    log_probabilities, total, count, hits = teacher_forced(params, batch), 0.0, 0.0, 0.0
    for example in range(6):
        for place in range(batch["target_length"][example] - 1):
            share = np.full(TARGETS, smoothing / TARGETS)
            share[batch["target"][example, place + 1]] += 1 - smoothing
            total -= batch["weight"][example] * share @ log_probabilities[example, place]
            count += batch["weight"][example]
            hits += batch["weight"][example] * (
                log_probabilities[example, place].argmax() == batch["target"][example, place + 1]
            )
    assert set(outcome.terms) == {"cross_entropy"}
    np.testing.assert_allclose(outcome.terms["cross_entropy"].sum, total, rtol=1e-5)
    np.testing.assert_allclose(outcome.terms["cross_entropy"].weight, count)
    np.testing.assert_allclose(outcome.metrics["token_accuracy"], (hits, count), rtol=1e-6)
    plain, _, _ = prepared(label_smoothing=0.0)
    metrics = task.evaluate(params, variables, batch, KEY).metrics
    unsmoothed = plain.loss(params, variables, batch, jax.random.key(1), 0, {})
    np.testing.assert_allclose(metrics["loss"], tuple(unsmoothed.terms["cross_entropy"][:2]), rtol=1e-6)
    np.testing.assert_allclose(metrics["token_accuracy"], outcome.metrics["token_accuracy"])


@pytest.mark.parametrize("beam", [1, 3])
def test_decoding_matches_teacher_forcing(beam):
    """The score of decoded tokens is their log-probability under teacher forcing."""
    task, params, variables = prepared(beam=beam, max_length=LENGTH - 1)
    batch = make_batch(20)
    outputs = jax.device_get(task.predict(params, variables, batch, KEY))
    batch["target"] = np.concatenate([np.full((20, 1), START, np.int32), outputs["tokens"]], axis=1)
    log_probabilities = teacher_forced(params, batch)
    picked = np.take_along_axis(log_probabilities, outputs["tokens"][..., None], axis=-1)[..., 0]
    valid = np.arange(LENGTH - 1) < outputs["length"][:, None]
    np.testing.assert_allclose(outputs["score"], np.where(valid, picked, 0).sum(1), rtol=1e-4, atol=1e-5)
    assert not np.isin(outputs["tokens"][valid], (PAD, START, UNKNOWN)).any()
    assert len(set(outputs["length"].tolist())) > 1
    if beam == 1:  # each token is the most probable of the allowed ones
        log_probabilities[..., [PAD, START, UNKNOWN]] = -np.inf
        np.testing.assert_array_equal(outputs["tokens"][valid], log_probabilities.argmax(-1)[valid])


def test_beam_search_scores_are_at_least_greedy_scores():
    batch = make_batch(20)
    outputs = {}
    for beam in (1, 40):
        task, params, variables = prepared(beam=beam, max_length=3, length_penalty=0.0)
        outputs[beam] = jax.device_get(task.predict(params, variables, batch, KEY))
    ended = [(np.asarray(output["tokens"]) == END).any(1) for output in outputs.values()]
    both = ended[0] & ended[1]
    assert np.all(outputs[40]["score"][both] >= outputs[1]["score"][both] - 1e-5)
    assert np.any(outputs[40]["score"][both] > outputs[1]["score"][both] + 1e-5)


def test_outputs_do_not_depend_on_padding_values():
    task, params, variables = prepared(beam=2)
    batch, altered = make_batch(), with_garbage(make_batch())
    assert np.any(batch["target"] != altered["target"])

    def everything(batch):
        outcome = jax.grad(
            lambda params: (lambda t: t.sum / t.weight)(
                task.loss(params, variables, batch, KEY, 0, {}).terms["cross_entropy"]
            )
        )
        return (
            outcome(params),
            task.evaluate(params, variables, batch, KEY),
            task.predict(params, variables, batch, KEY),
        )

    everything = jax.jit(everything)
    jax.tree.map(np.testing.assert_array_equal, everything(batch), everything(altered))


def test_metrics_and_loss_do_not_depend_on_padding_rows():
    task, params, variables = prepared()
    batch = make_batch(5)
    padded = {name: np.concatenate([value, value[:3] * 0]) for name, value in batch.items()}
    exact, actual = (task.evaluate(params, variables, inputs, KEY) for inputs in (batch, padded))
    assert_close = functools.partial(np.testing.assert_allclose, rtol=1e-6)
    jax.tree.map(assert_close, exact.metrics, actual.metrics)
    jax.tree.map(
        lambda inputs, padded_records: np.testing.assert_array_equal(inputs, padded_records[:5]),
        exact.records,
        actual.records,
    )
    exact, actual = (task.loss(params, variables, b, KEY, 0, {}) for b in (batch, padded))
    jax.tree.map(assert_close, exact.terms, actual.terms)


def test_evaluation_combines_over_batches():
    task, params, variables = prepared()
    batch = make_batch(12)
    halves = [{name: value[rows] for name, value in batch.items()} for rows in (slice(0, 5), slice(5, 12))]
    expected = task.evaluate(params, variables, batch, KEY)
    parts = [task.evaluate(params, variables, batch_half, KEY) for batch_half in halves]
    jax.tree.map(
        lambda all, a, b: np.testing.assert_allclose(a + b, all, rtol=1e-6),
        expected.metrics,
        *(p.metrics for p in parts),
    )
    jax.tree.map(
        lambda all, a, b: np.testing.assert_array_equal(np.concatenate([a, b]), all),
        expected.records,
        *(p.records for p in parts),
    )


def test_dropout_depends_on_the_key():
    task, params, variables = compiled(Translation(Small(dropout=0.5)))
    batch = make_batch()

    def loss(key):
        return task.loss(params, variables, batch, key, 0, {}).terms["cross_entropy"].sum

    assert loss(jax.random.key(1)) == loss(jax.random.key(1))
    assert loss(jax.random.key(1)) != loss(jax.random.key(2))


def test_scores_are_of_decoded_texts():
    task, _, _ = prepared()
    records = {
        "tokens": np.array([[4, 5, 6, END, 0], [7, 7, END, 0, 0], [4, 4, 4, 4, 4]]),
        "length": np.array([4, 3, 5]),
        "target": np.array([[START, 4, 5, 6, END, 0], [START, 7, 8, END, 0, 0], [START, 4, 4, 4, 4, END]]),
        "target_length": np.array([5, 4, 6]),
    }
    scores = task.score(records, {}, NAMES)
    hypotheses, references = ["abc", "dd", "aaaaa"], ["abc", "de", "aaaa"]
    np.testing.assert_allclose(scores["bleu"], sacrebleu.corpus_bleu(hypotheses, [references]).score)
    np.testing.assert_allclose(scores["chrf"], sacrebleu.corpus_chrf(hypotheses, [references]).score)
    np.testing.assert_allclose(scores["exact_match"], 1 / 3)
    numbers = task.score(records, {}, {})
    np.testing.assert_allclose(numbers["exact_match"], 1 / 3)
    np.testing.assert_allclose(numbers["bleu"], bleu(["4 5 6", "7 7", "4 4 4 4 4"], ["4 5 6", "7 8", "4 4 4 4"]))


def test_evaluation_decodes_as_configured():
    batch = make_batch()
    task, params, variables = prepared(metrics=("exact_match",))
    records = task.evaluate(params, variables, batch, KEY).records
    assert records["tokens"].shape == (6, LENGTH - 1)
    assert set(task.score(jax.device_get(records), {}, NAMES)) == {"exact_match"}
    assert prepared(max_length=3)[0].evaluate(params, variables, batch, KEY).records["tokens"].shape == (6, 3)
    without, _, _ = prepared(decode_in_evaluation=False)
    evaluation = without.evaluate(params, variables, batch, KEY)
    assert set(evaluation.metrics) == {"loss", "token_accuracy"}
    assert evaluation.records == {}
    assert without.score({}, {}, NAMES) == {}


def test_text_metrics_match_hand_computed_values():
    texts = ["the cat sat on the mat", "a dog ran over there"]
    assert bleu(texts, texts) == pytest.approx(100)
    assert chrf(texts, texts) == pytest.approx(100)
    assert exact_match(texts, texts) == 1.0
    assert exact_match(texts, [texts[0], "another"]) == 0.5
    # n-gram precision: 4 of 5 words, 3 of 4 bigrams, 2 of 3 trigrams and 1 of 2 4-grams.
    expected = 100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25
    assert bleu(["one two three four five"], ["one two three four six"]) == pytest.approx(expected)


@pytest.mark.parametrize("metric", [bleu, chrf, exact_match])
@pytest.mark.parametrize(("texts", "message"), [(([], []), "no texts"), ((["a"], ["a", "b"]), "1 texts and 2 ref")])
def test_texts_and_references_must_match_in_number(metric, texts, message):
    with pytest.raises(UserError, match=message):
        metric(*texts)


def test_predictions_do_not_need_a_target():
    task, params, variables = prepared()
    batch = make_batch()
    inputs = {name: batch[name] for name in ("source", "source_length", "index", "weight")}
    outputs = jax.device_get(task.predict(params, variables, inputs, KEY))
    assert outputs["tokens"].shape == (6, 2 * TIME + 10)
    assert outputs["tokens"].dtype == np.int32
    jax.tree.map(np.testing.assert_array_equal, outputs, jax.device_get(task.predict(params, variables, batch, KEY)))


def test_readable_output_of_one_example():
    task, _, _ = prepared()
    outputs = {"tokens": np.array([5, 4, END, 0]), "length": np.int32(3), "score": np.float32(-1.25)}
    assert task.presentation.readable({}, outputs, NAMES) == {"translation": "ba", "score": -1.25}
    assert task.presentation.readable({}, outputs, {}) == {"translation": "5 4", "score": -1.25}


@pytest.mark.parametrize("references", ["target", "zeros", "nothing"])
def test_pictures_with_and_without_references(references):
    task, params, variables = prepared()
    batch = make_batch()
    outputs = jax.device_get(task.predict(params, variables, batch, KEY))
    if references == "zeros":
        batch["target"], batch["target_length"] = batch["target"] * 0, batch["target_length"] * 0
    if references == "nothing":
        del batch["target"], batch["target_length"], batch["weight"]
    picture = task.presentation.pictures(batch, outputs, {}, NAMES)["translations"]
    assert picture.dtype == np.uint8
    assert picture.shape[1:] == (900, 3)
    height = task.presentation.pictures(make_batch(), outputs, {}, NAMES)["translations"].shape[0]
    assert (picture.shape[0] == height) == (references == "target")


def test_translation_table_renders_texts():
    long = "Grüße, $x$ " * 60
    picture = translation_table([long, "a"], ["b", ""], [long, "a"])
    assert picture.shape[1:] == (900, 3)
    assert np.any(picture != translation_table([long, "a"], ["b", ""], [long, "b"]))
    np.testing.assert_array_equal(translation_table(["a"] * 9, ["b"] * 9), translation_table(["a"] * 8, ["b"] * 8))
    with pytest.raises(ValueError, match="at least one text"):
        translation_table([], [])


def test_long_texts_are_wrapped_and_truncated():
    assert wrap("", 20) == ["(nothing)"]
    assert wrap("one\ntwo", 20) == ["one two"]
    lines = wrap("word " * 40, 20)
    assert len(lines) == 3
    assert lines[-1].endswith("…")
    assert max(map(len, lines)) <= 20


def test_a_token_outside_the_vocabulary_is_detected():
    task, params, variables = prepared()
    batch = make_batch()
    batch["target"][0, 1], batch["target_length"][0] = TARGETS, 4
    outcome = task.loss(params, variables, batch, KEY, 0, {})
    assert np.isnan(outcome.terms["cross_entropy"].sum)
    with pytest.raises(UserError, match="token 11 is outside the vocabulary of 11 tokens"):
        decode_texts([[TARGETS]], [1], Letters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"label_smoothing": 1.0}, "label_smoothing=1.0"),
        ({"beam": 0}, "beam=0"),
        ({"length_penalty": -0.5}, "length_penalty=-0.5"),
        ({"max_length": 0}, "max_length=0"),
        ({"metrics": ("blue",)}, "metrics has 'blue': did you mean 'bleu'"),
    ],
)
def test_invalid_arguments_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        Translation(Small(), **arguments)


def test_a_target_with_one_token_is_refused():
    batch = make_batch()
    with pytest.raises(UserError, match="a length of at least 2"):
        random_weights(Translation(Small()).init, {**batch, "target": batch["target"][:, :1]})


def test_one_group_is_trained_without_batch_coupling():
    task = Translation(Small())
    assert [phase.trains for phase in task.phases] == ["translator"]
    assert task.batch_statistics == ""


def test_an_unknown_reference_token_is_never_matched():
    a, b = 4, 5
    records = {
        "tokens": np.array([[a, b], [a, b]]),
        "length": np.array([2, 2]),
        "target": np.array([[a, b, PAD], [a, UNKNOWN, b]]),
        "target_length": np.array([2, 3]),
    }
    task, _, _ = prepared(metrics=("exact_match",))
    assert task.score(records, {}, NAMES) == {"exact_match": 0.5}


def test_rouge_l_uses_the_longest_common_subsequence():
    # "the mat" of 3 and 4 words: precision 2/3, recall 2/4.
    assert rouge_l(["the red mat"], ["on the Mat today"]) == pytest.approx(100 * 2 * 2 / (3 + 4))
    assert rouge_l(["a", "b"], ["a", "c"]) == pytest.approx(50)
    with pytest.raises(UserError, match="1 texts and 2 references"):
        rouge_l(["a"], ["a", "b"])


def test_code_metrics_parse_and_compile():
    bodies = ["return x + 1", "if x:\n    return 2\nreturn 3", "return (", "", "break", "nonlocal x"]
    assert python_parses(bodies, bodies) == pytest.approx(4 / 6)
    assert python_compiles(bodies, bodies) == pytest.approx(2 / 6)


def test_edit_similarity_is_twice_the_matching_characters_per_character():
    assert edit_similarity(["return x", "abcd", "x"], ["return x", "bcde", "y"]) == pytest.approx((1 + 6 / 8 + 0) / 3)
    repeated = "ab" * 150  # more than 200 characters: no character is ignored as too frequent
    assert edit_similarity([repeated], [repeated[1:]]) == pytest.approx(2 * 299 / 599)
