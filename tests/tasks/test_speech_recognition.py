"""Speech recognition: CTC loss against the sum over paths, padding, scores, training."""

import functools
import itertools
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl.data.audio.speech import Speech
from jaxdl.data.pipeline import eval_batches
from jaxdl.data.synthetic.speech import MockSpeech
from jaxdl.data.text.tokenizers import Characters
from jaxdl.errors import UserError
from jaxdl.metrics.transcription import error_rates
from jaxdl.tasks.speech_recognition import SpeechRecognition, ctc
from jaxdl.training.step import make_eval_step
from jaxdl.viz.speech import HEIGHT, WIDTH

VOCABULARY = 12
TOKENIZER = Characters(VOCABULARY).train(["abcdef "])
NAMES = {"target": TOKENIZER}


class Strided(nn.Module):
    """Two convolutions with one step for two frames."""

    vocabulary: int = VOCABULARY
    width: int = 16

    @nn.compact
    def __call__(self, frames, *, length, train):
        valid = jnp.arange(frames.shape[1]) < length[:, None]
        x = jnp.where(valid[..., None], frames, 0.0)
        x = nn.relu(nn.Conv(self.width, (5,), strides=(2,))(x))
        return nn.Dense(self.vocabulary)(x), (length + 1) // 2


def make_batch(size=4, time=20, tokens=4, seed=0):
    random = np.random.default_rng(seed)
    length = np.array([20, 14, 17, 9, 20, 11, 13, 18][:size], np.int32)
    target_length = np.array([4, 1, 3, 2, 2, 3, 0, 4][:size], np.int32)
    frames = random.normal(size=(size, time, 6)).astype(np.float32)
    frames[np.arange(time) >= length[:, None]] = 0
    target = random.integers(4, 8, (size, tokens)).astype(np.int32)
    target[np.arange(tokens) >= target_length[:, None]] = 0
    return {
        "frames": frames,
        "frames_length": length,
        "target": target,
        "target_length": target_length,
        "weight": np.ones(size, np.float32),
        "index": np.arange(size, dtype=np.int32),
    }


@pytest.fixture(scope="module")
def task():
    return SpeechRecognition(Strided())


@pytest.fixture(scope="module")
def initialized(task):
    return jax.jit(task.init)(jax.random.key(0), make_batch())


@pytest.fixture(scope="module")
def evaluate(task):
    return jax.jit(make_eval_step(task))


def by_enumeration(logits, target):
    """Computes the CTC loss and its gradient [steps, labels] by enumeration of paths."""
    steps, labels = logits.shape
    share = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    paths = [
        path
        for path in itertools.product(range(labels), repeat=steps)
        if [label for label, _ in itertools.groupby(path) if label] == list(target)
    ]
    path_probabilities = np.array([np.prod(share[np.arange(steps), path]) for path in paths])
    visits = sum(weight * np.eye(labels)[list(path)] for weight, path in zip(path_probabilities, paths))
    return -np.log(path_probabilities.sum()), share - visits / path_probabilities.sum()


@functools.cache
def loss_and_gradient():
    """Returns the compiled loss with its gradient by the logits."""
    return jax.jit(jax.value_and_grad(lambda *arguments: ctc(*arguments).loss.sum()))


@pytest.mark.parametrize("target", [[], [1], [2, 1], [1, 1], [1, 1, 2], [2, 2, 2]])
def test_loss_and_gradient_match_the_sum_over_all_paths(target):
    logits = np.random.default_rng(len(target)).normal(size=(1, 7, 3)).astype(np.float32)
    padded = np.array([[*target, *[0] * (4 - len(target))]], np.int32)
    for steps in (5, 6):
        value, gradient = loss_and_gradient()(logits, np.array([steps]), padded, np.array([len(target)]))
        expected, by_paths = by_enumeration(logits[0, :steps], target)
        np.testing.assert_allclose(value, expected, rtol=1e-5)
        np.testing.assert_allclose(gradient[0, :steps], by_paths, atol=1e-5)
        np.testing.assert_array_equal(gradient[0, steps:], 0)


def test_loss_and_gradient_do_not_depend_on_padding():
    logits = np.random.default_rng(0).normal(size=(3, 8, 5)).astype(np.float32)
    steps, length = np.array([8, 5, 6]), np.array([2, 2, 0])
    target = np.array([[1, 1, 0, 0], [3, 3, 0, 0], [0, 0, 0, 0]], np.int32)
    value = loss_and_gradient()
    expected, expected_gradient = value(logits, steps, target, length)
    late = (np.arange(8) >= steps[:, None])[..., None]
    behind = np.arange(4) >= length[:, None]
    for garbage, token in ((1e9, 1), (np.nan, 3), (-np.inf, 99), (np.inf, -7)):
        dirty = np.where(late, np.float32(garbage), logits)
        actual, gradient = value(dirty, steps, np.where(behind, np.int32(token), target), length)
        np.testing.assert_array_equal(actual, expected)
        np.testing.assert_array_equal(gradient, expected_gradient)


def test_a_target_without_a_path_is_counted_and_excluded():
    logits = np.random.default_rng(0).normal(size=(3, 8, 5)).astype(np.float32)
    target = np.array([[1, 2, 3, 0], [1, 1, 1, 0], [1, 1, 2, 0]], np.int32)
    arguments = (logits, np.array([4, 4, 4]), target, np.array([3, 3, 3]))
    losses = jax.jit(ctc)(*arguments)
    _, gradient = loss_and_gradient()(*arguments)
    assert losses.impossible.tolist() == [0, 1, 0]
    assert losses.tokens.tolist() == [3, 0, 3]
    assert losses.loss[1] == 0
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[1], 0)
    assert (np.asarray(losses.loss)[[0, 2]] < 100).all()


@pytest.mark.parametrize("token", [0, 3, -1])
def test_a_token_outside_the_vocabulary_gives_a_nan_loss(token):
    target = np.array([[1, token, 0, 0]], np.int32)
    loss, _ = loss_and_gradient()(np.zeros((1, 7, 3), np.float32), np.array([6]), target, np.array([2]))
    assert np.isnan(loss)


def test_evaluation_does_not_depend_on_padding_and_batch_size(evaluate, initialized):
    params, variables = initialized
    batch = make_batch(8)
    expected = evaluate(params, variables, batch, 0)
    dirty = {name: value.copy() for name, value in batch.items()}
    dirty["frames"][np.arange(20) >= batch["frames_length"][:, None]] = 1e3
    dirty["target"][np.arange(4) >= batch["target_length"][:, None]] = 99
    actual = evaluate(params, variables, dirty, 0)
    for name, pair in expected.metrics.items():
        np.testing.assert_allclose(pair, actual.metrics[name], rtol=1e-6)
    np.testing.assert_array_equal(expected.records["tokens"], actual.records["tokens"])
    assert expected.metrics["loss"][1] == batch["target_length"].sum() == 19

    halves = [{name: value[rows] for name, value in batch.items()} for rows in (slice(0, 4), slice(4, 8))]
    parts = [evaluate(params, variables, part, 0).metrics["loss"] for part in halves]
    np.testing.assert_allclose(np.sum(parts, axis=0), expected.metrics["loss"], rtol=1e-5)
    halves[0]["weight"] = np.array([1, 1, 0, 0], np.float32)
    counted = evaluate(params, variables, halves[0], 0).metrics
    assert counted["loss"][1] == batch["target_length"][:2].sum()
    assert counted["impossible"][1] == 2


def test_training_and_evaluation_have_the_same_loss(task, initialized, evaluate):
    params, variables = initialized
    batch = make_batch()
    outcome = jax.jit(task.phases[0].loss)(params, variables, batch, jax.random.key(0), 0, {})
    term = outcome.terms["ctc"]
    np.testing.assert_allclose(
        (term.sum, term.weight), evaluate(params, variables, batch, 0).metrics["loss"], rtol=1e-6
    )
    assert set(params) == {task.phases[0].trains} == {"recognizer"}
    del batch["target"]
    with pytest.raises(UserError, match="needs 'target'"):
        task.phases[0].loss(params, variables, batch, jax.random.key(0), 0, {})
    with pytest.raises(UserError, match="beam=-1"):
        SpeechRecognition(Strided(), beam=-1)


def confident(texts, steps=12):
    """Returns the outputs of a confident model of `texts`."""
    path = np.zeros((len(texts), steps), np.int32)
    for row, text in enumerate(texts):
        for place, token in enumerate(TOKENIZER.encode(text)):
            path[row, 2 * place] = token
    logs = np.log(np.where(np.eye(VOCABULARY)[path] > 0, 0.9, 0.1 / (VOCABULARY - 1))).astype(np.float32)
    return {"path": path, "steps": np.full(len(texts), steps, np.int32), "log_probabilities": logs}


def records_of(references, recognized):
    tokens = np.zeros((len(references), 8), np.int32)
    target = np.zeros((len(references), 8), np.int32)
    for row, (reference, hypothesis) in enumerate(zip(references, recognized)):
        target[row, : len(reference)], tokens[row, : len(hypothesis)] = (
            TOKENIZER.encode(reference),
            TOKENIZER.encode(hypothesis),
        )
    lengths = {
        "length": np.array([len(text) for text in recognized]),
        "target_length": np.array([len(text) for text in references]),
    }
    return {"tokens": tokens, "target": target, **lengths}


def test_scores_are_error_rates_of_texts(task):
    references, recognized = ["ab cd", "f"], ["ab ce", ""]
    records = records_of(references, recognized)
    expected = error_rates(references, recognized)
    assert task.score(records, {}, NAMES) == expected
    beam: Any = SpeechRecognition(Strided(), beam=4)
    by_beam = {name: records[name] for name in ("target", "target_length")} | confident(recognized)
    assert beam.score(by_beam, {}, NAMES) == expected


def test_unknown_characters_of_a_reference_count_as_errors(task):
    references, recognized = ["abxd"], ["ab d"]  # x is not in the vocabulary: the target has <unknown>
    assert task.score(records_of(references, ["abd"]), {}, NAMES)["cer"] == pytest.approx(0.25)
    assert task.score(records_of(references, recognized), {}, NAMES)["cer"] == pytest.approx(0.25)
    assert task.score(records_of(references, ["abxd"]), {}, NAMES)["cer"] == pytest.approx(0.25)


def test_predictions_are_the_best_path_without_a_target(task, initialized):
    params, variables = initialized
    batch = {name: value for name, value in make_batch().items() if not name.startswith("target")}
    outputs = jax.jit(task.predict)(params, variables, batch, jax.random.key(0))
    parameters, length = {"params": params["recognizer"]}, batch["frames_length"]
    applied: Any = Strided().apply(parameters, batch["frames"], length=length, train=False)
    logits, steps = applied
    logs = jax.nn.log_softmax(logits)
    assert outputs["steps"].tolist() == steps.tolist()
    for row in range(4):
        path = np.asarray(logs[row, : steps[row]].argmax(-1))
        np.testing.assert_array_equal(outputs["path"][row, : steps[row]], path)
        np.testing.assert_allclose(outputs["score"][row], logs[row, : steps[row]].max(-1).sum(), rtol=1e-5)
        expected = [label for label, _ in itertools.groupby(path) if label]
        assert outputs["tokens"][row, : outputs["length"][row]].tolist() == expected
    by_beam = jax.jit(SpeechRecognition(Strided(), beam=2).predict)(params, variables, batch, jax.random.key(0))
    np.testing.assert_allclose(by_beam["log_probabilities"], logs, atol=1e-5)


def test_readable_output_of_one_example(task):
    outputs = {name: value[0] for name, value in confident(["fab"]).items()}
    greedy = outputs | {"tokens": TOKENIZER.encode("fab"), "length": 3, "score": np.float32(-1.5)}
    assert task.presentation.readable({}, greedy, NAMES) == {"text": "fab", "score": -1.5}
    assert task.presentation.readable({}, greedy, {})["text"] == " ".join(map(str, TOKENIZER.encode("fab")))
    beam: Any = SpeechRecognition(Strided(), beam=4)
    row = beam.presentation.readable({}, outputs, NAMES)
    assert row["text"] == "fab"
    assert row["score"] < 0


def test_pictures_show_spectrograms_and_transcripts(task):
    batch = make_batch()
    texts = ["ab", "", "f d", "c"]
    outputs = confident(texts, 10) | {
        name: value for name, value in records_of(texts, texts).items() if "target" not in name
    }
    outputs["score"] = np.zeros(4)
    batch["weight"][3] = 0
    picture = task.presentation.pictures(batch, outputs, {}, NAMES)["transcripts"]
    assert (picture.shape, picture.dtype) == ((3 * HEIGHT, WIDTH, 3), np.uint8)
    unlabelled = {name: value for name, value in batch.items() if not name.startswith("target")}
    assert task.presentation.pictures(unlabelled, outputs, {}, {})["transcripts"].shape == picture.shape
    single = {name: value[0] for name, value in outputs.items()}
    picture_of_one = task.presentation.picture(
        {name: batch[name][0] for name in ("frames", "frames_length")}, single, NAMES
    )
    assert picture_of_one.shape == (HEIGHT, WIDTH, 3)
    assert len(np.unique(picture_of_one)) > 50


@dataclass(frozen=True)
class Letters:
    def load(self):
        return TOKENIZER


def test_training_recognizes_synthetic_speech():
    train, test = (
        Speech(MockSpeech(examples=count, split=split), Letters(), seconds=1.2, mels=16, length=9, stride=2).load()
        for split, count in (("train", 64), ("test", 16))
    )
    task: Any = SpeechRecognition(Strided(width=48))
    (batch,) = eval_batches(train, 64)
    params, variables = jax.jit(task.init)(jax.random.key(0), batch)
    optimizer = optax.adam(1e-2)

    @jax.jit
    def step(params, state, batch):
        def mean(params):
            term = task.phases[0].loss(params, variables, batch, jax.random.key(0), 0, {}).terms["ctc"]
            return term.sum / term.weight

        loss, gradient = jax.value_and_grad(mean)(params)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), state, loss

    state, losses = optimizer.init(params), []
    for _ in range(150):
        params, state, loss = step(params, state, batch)
        losses.append(float(loss))
    assert losses[-1] < 0.1 * losses[0]
    (batch,) = eval_batches(test, 16)
    records = jax.jit(make_eval_step(task))(params, variables, batch, 0).records
    scores = task.score({name: np.asarray(value) for name, value in records.items()}, {}, test.names)
    assert scores["cer"] < 0.25


class Spelling:
    """Language model of one text that counts its fits."""

    def __init__(self, text):
        self.text, self.fits = TOKENIZER.encode(text).tolist(), 0

    def following(self, tokenizer):
        assert tokenizer is TOKENIZER
        self.fits += 1
        expected = {tuple(self.text[:count]): token for count, token in enumerate(self.text)}
        return lambda prefix: np.log(np.where(np.arange(VOCABULARY) == expected.get(prefix), 0.9, 0.01))


def test_a_language_model_decides_between_equally_probable_prefixes():
    outputs = {name: value[0] for name, value in confident(["fab"]).items()}
    outputs["log_probabilities"][2, TOKENIZER.encode("e")] = np.log(0.85)  # "feb" is nearly as probable
    model = Spelling("feb")
    guided: Any = SpeechRecognition(Strided(), beam=8, language_model=model)
    assert guided.presentation.readable({}, outputs, NAMES)["text"] == "feb"
    assert guided.presentation.readable({}, outputs, NAMES)["text"] == "feb"
    assert model.fits == 1
    unweighted: Any = SpeechRecognition(Strided(), beam=8, language_model=model, language_weight=0.0, token_bonus=0.0)
    assert unweighted.presentation.readable({}, outputs, NAMES)["text"] == "fab"
    with pytest.raises(UserError, match="needs data with a tokenizer"):
        guided.presentation.readable({}, outputs, {})
    with pytest.raises(UserError, match="set beam=32"):
        SpeechRecognition(Strided(), language_model=model)
