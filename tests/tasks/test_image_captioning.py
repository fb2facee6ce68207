"""Image captioning: the loss against numpy, decoding, normalization, pictures, errors."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from modules import random_weights

from jaxdl.data.text.special_tokens import END, PAD, START, UNKNOWN
from jaxdl.errors import UserError
from jaxdl.models.layers.norms import batch_norm
from jaxdl.tasks.image_captioning import MAX_LENGTH, ImageCaptioning
from jaxdl.tasks.parts.pixels import Normalize
from jaxdl.viz.text import caption_grid

VOCABULARY, LENGTH = 9, 6
MEAN, STD = (0.3, 0.5, 0.6), (0.2, 0.4, 0.5)
KEY = jax.random.key(0)


class Small(nn.Module):
    """Captioner whose next token depends on the image and the last token only, as in numpy."""

    norm: object = None

    def setup(self):
        self.image = nn.Dense(VOCABULARY, kernel_init=nn.initializers.normal(0.3))
        self.token = nn.Embed(VOCABULARY, VOCABULARY, embedding_init=nn.initializers.normal(2.0))
        if self.norm:
            self.normal = nn.BatchNorm()

    def encode(self, inputs, *, length=None, train=False):
        assert length is None
        memory = self.image(inputs.reshape(len(inputs), -1))
        return self.normal(memory, use_running_average=not train) if self.norm else memory

    def start(self, memory):
        return jnp.zeros((len(memory), 1))

    def decode(self, memory, carry, token):
        return memory + self.token(token), carry + 1

    def __call__(self, inputs, target, *, length=None, train):
        return self.encode(inputs, train=train)[:, None] + self.token(target)


class Words:
    def __len__(self):
        return VOCABULARY

    def decode(self, ids):
        words = []
        for token in ids:
            if token == END:
                break
            if token > UNKNOWN:
                words.append(f"word{token}")
        return " ".join(words)


NAMES: Any = {"target": Words()}


def make_batch(size=6, seed=0):
    random = np.random.default_rng(seed)
    length = random.integers(2, LENGTH + 1, size).astype(np.int32)
    target = random.integers(4, VOCABULARY, (size, LENGTH)).astype(np.int32)
    target[:, 0] = START
    target[np.arange(size), length - 1] = END
    target[np.arange(LENGTH) >= length[:, None]] = PAD
    return {
        "image": random.integers(0, 256, (size, 4, 4, 3), dtype=np.uint8),
        "target": target,
        "target_length": length,
        "weight": np.ones(size, np.float32),
        "index": np.arange(size, dtype=np.int32),
    }


@functools.cache
def prepared(**arguments):
    task = ImageCaptioning(Small(), normalize=Normalize(MEAN, STD), **arguments)
    return task, *random_weights(task.init, make_batch())


def numpy_logits(params, image, token):
    """Computes the logits [batch, vocabulary] that follow `token` [batch]."""
    tree = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params["captioner"])
    normal = ((image / 255.0 - np.array(MEAN)) / np.array(STD)).reshape(len(image), -1)
    return normal @ tree["image"]["kernel"] + tree["image"]["bias"] + tree["token"]["embedding"][token]


def log_softmax(logits):
    return logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)


def test_the_loss_matches_numpy():
    task, params, variables = prepared(label_smoothing=0.1)
    batch = make_batch()
    outcome = task.phases[0].loss(params, variables, batch, KEY, 0, {})
    total = count = 0.0
    for place in range(LENGTH - 1):
        log_probabilities = log_softmax(numpy_logits(params, batch["image"], batch["target"][:, place]))
        share = 0.9 * np.eye(VOCABULARY)[batch["target"][:, place + 1]] + 0.1 / VOCABULARY
        counted = place + 1 < batch["target_length"]
        total -= np.sum(counted * np.sum(share * log_probabilities, axis=-1))
        count += counted.sum()
    np.testing.assert_allclose(outcome.terms["cross_entropy"][:2], (total, count), rtol=1e-5)


def test_greedy_captions_match_numpy():
    task, params, variables = prepared()
    batch = make_batch(12)
    outputs = jax.device_get(jax.jit(task.predict)(params, variables, {"image": batch["image"]}, KEY))
    assert outputs["tokens"].shape == (12, MAX_LENGTH)
    for example in range(12):
        token, tokens, score = START, [], 0.0
        while token != END and len(tokens) < MAX_LENGTH:
            log_probabilities = log_softmax(numpy_logits(params, batch["image"][example : example + 1], [token]))[0]
            token = max((t for t in range(VOCABULARY) if t not in (PAD, START, UNKNOWN)), key=log_probabilities.item)
            tokens.append(token)
            score += log_probabilities[token]
        assert outputs["length"][example] == len(tokens)
        assert outputs["tokens"][example, : len(tokens)].tolist() == tokens
        np.testing.assert_allclose(outputs["score"][example], score, rtol=1e-4)


def test_beam_search_gives_captions():
    task, params, variables = prepared(beam=3, max_length=8)
    outputs = jax.device_get(jax.jit(task.predict)(params, variables, make_batch(), KEY))
    assert outputs["tokens"].shape == (6, 8)
    assert np.all(np.isfinite(outputs["score"]))


def test_evaluation_records_are_scored():
    task, params, variables = prepared()
    evaluation = jax.device_get(task.evaluate(params, variables, make_batch(), KEY))
    assert set(evaluation.metrics) == {"loss", "token_accuracy"}
    assert evaluation.records["tokens"].shape == (6, LENGTH - 1)
    scores = task.score(evaluation.records, {}, NAMES)
    assert set(scores) == {"bleu", "chrf"}
    references = {"tokens": evaluation.records["target"], "length": evaluation.records["target_length"]}
    perfect = task.score({**evaluation.records, **references}, {}, NAMES)
    assert perfect["chrf"] == pytest.approx(100)
    assert perfect["chrf"] > scores["chrf"]


def test_an_encoder_updates_its_batch_statistics():
    task = ImageCaptioning(Small(norm=batch_norm))
    assert "batch normalization" in task.batch_statistics
    assert ImageCaptioning(Small()).batch_statistics == ""
    batch = make_batch()
    params, variables = task.init(KEY, batch)
    outcome = jax.jit(task.loss)(params, variables, batch, KEY, 0, {})
    assert jax.tree.structure(outcome.variables) == jax.tree.structure(variables)
    before, after = (variables["captioner"]["batch_stats"], outcome.variables["captioner"]["batch_stats"])
    assert np.any(before["normal"]["mean"] != after["normal"]["mean"])
    initial_score, updated_score = (
        task.predict(params, v, batch, KEY)["score"] for v in (variables, outcome.variables)
    )
    assert np.any(initial_score != updated_score)


def test_readable_output_and_picture_of_one_image():
    task, _, _ = prepared()
    outputs = {"tokens": np.array([5, 4, END, 0]), "length": np.int32(3), "score": np.float32(-0.5)}
    assert task.presentation.readable({}, outputs, NAMES) == {"caption": "word5 word4", "score": -0.5}
    image = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    picture = task.presentation.picture({"image": image}, outputs, NAMES)
    empty = task.presentation.picture({"image": image}, {**outputs, "length": np.int32(1)}, NAMES)
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
    assert np.any(picture != empty)


@pytest.mark.parametrize("references", [True, False])
def test_pictures_with_and_without_references(references):
    task, params, variables = prepared()
    batch = make_batch()
    outputs = jax.device_get(task.predict(params, variables, batch, KEY))
    if not references:
        del batch["target"], batch["target_length"], batch["weight"]
    picture = task.presentation.pictures(batch, outputs, {}, NAMES)["captions"]
    assert picture.dtype == np.uint8
    assert picture.shape[1] <= 900


def test_caption_grid_has_one_row_per_image():
    images = np.random.default_rng(0).integers(0, 256, (13, 8, 8, 1), dtype=np.uint8)
    captions = [f"a $picture$ number {number}" for number in range(13)]
    np.testing.assert_array_equal(caption_grid(images, captions), caption_grid(images[:12], captions[:12]))
    for count in (1, 2, 3, 4):
        assert caption_grid(images[:count], captions[:count], captions[:count]).shape[1] <= 900
    with pytest.raises(ValueError, match="no images to draw"):
        caption_grid(images[:0], [])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"normalize": Normalize(mean=(0.5, 0.5))}, "mean has 2 values, but images have 3 channels"),
        ({"beam": -1}, "beam=-1"),
        ({"metrics": ("cider",)}, "metrics has 'cider'"),
    ],
)
def test_invalid_arguments_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        ImageCaptioning(Small(), **arguments).init(KEY, make_batch())
