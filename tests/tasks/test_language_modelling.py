"""Language modelling: loss and metrics against numpy, carried state, prompts, pictures."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modules import random_weights

from jaxdl.errors import UserError
from jaxdl.tasks.language_modelling import LanguageModelling

GROUP = LanguageModelling.group
VOCABULARY, WIDTH = 9, 6
KEY = jax.random.key(3)


class Recurrent(nn.Module):
    """Recurrent model h <- tanh(0.5 h + embedding) with the initial state 0.25."""

    dropout: float = 0.0
    dtype: Any = jnp.float32

    def initial_carry(self, batch):
        return {"h": jnp.full((batch, WIDTH), 0.25)}

    @nn.compact
    def __call__(self, tokens, *, carry=None, train):
        h = (self.initial_carry(len(tokens)) if carry is None else carry)["h"]
        embedded = nn.Embed(VOCABULARY, WIDTH, name="embed")(tokens)
        embedded = nn.Dropout(self.dropout, deterministic=not train)(embedded).astype(self.dtype)

        def step(h, x):
            h = jnp.tanh(0.5 * h + x)
            return h, h

        h, outputs = jax.lax.scan(step, h.astype(self.dtype), jnp.swapaxes(embedded, 0, 1))
        return nn.Dense(VOCABULARY, name="head")(jnp.swapaxes(outputs, 0, 1)), {"h": h}


class Stateless(nn.Module):
    """Model of the token and the mean of earlier tokens, without state."""

    @nn.compact
    def __call__(self, tokens, *, carry=None, train):
        embedded = nn.Embed(VOCABULARY, WIDTH)(tokens)
        count = jnp.arange(1, tokens.shape[1] + 1)[:, None]
        return nn.Dense(VOCABULARY)(embedded + jnp.cumsum(embedded, axis=1) / count), None


def start(task, batch):
    return random_weights(task.init, batch)


def loss_of(task, params, variables, batch, carry=None, key=KEY):
    return jax.jit(task.phases[0].loss)(params, variables, batch, key, 0, {} if carry is None else carry)


def evaluated(task, params, variables, batch):
    return jax.jit(task.evaluate)(params, variables, batch, KEY).metrics


def make_batch(size=4, length=7, seed=0, **features):
    draws = np.random.default_rng(seed)
    batch = {
        "tokens": draws.integers(4, VOCABULARY, (size, length + 1)).astype(np.int32),
        "first": np.zeros(size, np.float32),
        "weight": np.ones(size, np.float32),
        "index": np.arange(size, dtype=np.int32),
    }
    return batch | features


def run(params, tokens, h):
    """Computes log-probabilities [batch, time, vocabulary] and the final state in float64."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params[GROUP])
    log_probabilities = []
    for column in range(tokens.shape[1]):
        h = np.tanh(0.5 * h + params["embed"]["embedding"][tokens[:, column]])
        logits = h @ params["head"]["kernel"] + params["head"]["bias"]
        log_probabilities.append(logits - np.log(np.exp(logits).sum(-1, keepdims=True)))
    return np.stack(log_probabilities, 1), h


def nll(params, tokens, h):
    log_probabilities, after = run(params, tokens[:, :-1], h)
    return -np.take_along_axis(log_probabilities, tokens[:, 1:, None], -1)[..., 0], after


def test_the_loss_excludes_context_and_padding_and_weights_examples():
    task = LanguageModelling(Recurrent())
    batch = make_batch(weight=np.array([1, 0.5, 2, 0], np.float32), context=np.array([0, 3, 7, 1], np.int32))
    batch["tokens"][0, 5:] = 0
    params, variables = start(task, batch)
    carry = jnp.asarray(np.random.default_rng(1).normal(size=(4, WIDTH)), jnp.float32)
    outcome = loss_of(task, params, variables, batch, {"h": carry})
    losses, after = nll(params, batch["tokens"], np.asarray(carry))
    expected = losses[0, :4].sum() + 0.5 * losses[1, 3:].sum()
    assert set(outcome.terms) == {"cross_entropy"}
    np.testing.assert_allclose(outcome.terms["cross_entropy"].sum, expected, rtol=1e-5)
    np.testing.assert_allclose(outcome.terms["cross_entropy"].weight, 4 + 0.5 * 4)
    np.testing.assert_allclose(outcome.carry["h"], after, rtol=1e-5)
    assert variables == outcome.variables == {}


def test_a_row_with_first_starts_from_the_initial_state():
    task = LanguageModelling(Recurrent())
    batch = make_batch(first=np.array([0, 1, 0, 1], np.float32))
    params, variables = start(task, batch)
    carry = {"h": jnp.full((4, WIDTH), -0.7)}
    outcome = loss_of(task, params, variables, batch, carry)
    begun = np.where(batch["first"][:, None] > 0, 0.25, -0.7)
    losses, after = nll(params, batch["tokens"], begun)
    np.testing.assert_allclose(outcome.terms["cross_entropy"].sum, losses.sum(), rtol=1e-5)
    np.testing.assert_allclose(outcome.carry["h"], after, rtol=1e-5)
    np.testing.assert_array_equal(task.carry(batch)["h"], np.full((4, WIDTH), 0.25))


def test_carried_halves_equal_one_window_except_for_gradients():
    task = LanguageModelling(Recurrent())
    window = make_batch(length=8)
    params, variables = start(task, window)
    halves = [window | {"tokens": window["tokens"][:, :5]}, window | {"tokens": window["tokens"][:, 4:]}]

    def loss(params, batch, carry):
        outcome = task.phases[0].loss(params, variables, batch, KEY, 0, carry)
        return outcome.terms["cross_entropy"].sum, outcome.carry

    @jax.jit
    def both(params):
        first_loss, carry = loss(params, halves[0], task.carry(window))
        return first_loss + loss(params, halves[1], carry)[0]

    gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (total, _), all_at_once = gradient(params, window, task.carry(window))
    (_, carry), first_loss = gradient(params, halves[0], task.carry(window))
    apart = jax.tree.map(jnp.add, first_loss, gradient(params, halves[1], carry)[1])
    np.testing.assert_allclose(both(params), total, rtol=1e-5)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), jax.grad(both)(params), apart)
    embedding = (tree[GROUP]["embed"]["embedding"] for tree in (all_at_once, apart))
    assert np.max(np.abs(np.subtract(*embedding))) > 1e-4


def test_windows_start_from_the_initial_state_without_carry():
    task = LanguageModelling(Recurrent(), carried=False)
    batch = make_batch()
    del batch["first"]
    params, variables = start(task, batch)
    outcome = loss_of(task, params, variables, batch, task.carry(batch))
    np.testing.assert_allclose(
        outcome.terms["cross_entropy"].sum, nll(params, batch["tokens"], 0.25)[0].sum(), rtol=1e-5
    )
    assert task.carry(batch) == outcome.carry == {}


def test_the_carried_state_has_a_fixed_dtype():
    task = LanguageModelling(Recurrent(dtype=jnp.bfloat16), new_tokens=3)
    batch = make_batch()
    params, variables = start(task, batch)
    outcome = loss_of(task, params, variables, batch, task.carry(batch))
    assert outcome.carry["h"].dtype == jnp.float32
    assert jax.jit(task.predict)(params, variables, batch, KEY)["continuation"].shape == (4, 3)


def test_evaluation_matches_numpy():
    task = LanguageModelling(Recurrent())
    characters = np.array([20, 10, 30, 0], np.float32)
    batch = make_batch(context=np.array([2, 0, 3, 0], np.int32), characters=characters)
    batch["weight"][3] = 0
    params, variables = start(task, batch)
    metrics = evaluated(task, params, variables, batch)
    assert set(metrics) == {"loss", "accuracy", "nats_per_character"}
    losses, _ = nll(params, batch["tokens"], 0.25)
    guess = run(params, batch["tokens"][:, :-1], 0.25)[0].argmax(-1)
    counted = (np.arange(7) >= batch["context"][:, None]) & (batch["weight"][:, None] > 0)
    np.testing.assert_allclose(metrics["loss"], (losses[counted].sum(), counted.sum()), rtol=1e-5)
    np.testing.assert_allclose(metrics["nats_per_character"], (losses[counted].sum(), 60), rtol=1e-5)
    hits = (guess == batch["tokens"][:, 1:])[counted].sum()
    np.testing.assert_allclose(metrics["accuracy"], (hits, counted.sum()))


def test_a_token_without_characters_counts_as_one():
    task = LanguageModelling(Recurrent())
    batch = make_batch()
    params, variables = start(task, batch)
    metrics = evaluated(task, params, variables, batch)
    assert metrics["nats_per_character"] == metrics["loss"]


def test_perplexity_and_bits_follow_from_the_sums():
    score = LanguageModelling(Recurrent()).score
    scored = score({}, {"loss": np.log(8.0), "nats_per_character": np.log(4.0)}, {})
    np.testing.assert_allclose([scored["perplexity"], scored["bits_per_character"]], [8, 2])
    assert score({}, {"loss": 1e4, "nats_per_character": 1e4}, {})["perplexity"] == np.inf


def test_metrics_and_loss_do_not_depend_on_padding():
    task = LanguageModelling(Recurrent(), carried=False)
    batch = make_batch(size=3)
    params, variables = start(task, batch)
    padded = {name: np.concatenate([value, value[:2]]) for name, value in batch.items()}
    padded["weight"][3:] = 0
    longer = batch | {"tokens": np.pad(batch["tokens"], ((0, 0), (0, 5)))}
    exact = evaluated(task, params, variables, batch)
    for altered in (padded, longer):
        actual = evaluated(task, params, variables, altered)
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), exact, actual)
    outcomes = [loss_of(task, params, variables, inputs) for inputs in (batch, padded, longer)]
    for altered in outcomes[1:]:
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), outcomes[0].terms, altered.terms)


@pytest.mark.parametrize("model", [Recurrent(), Stateless()])
def test_logits_are_causal(model):
    task = LanguageModelling(model, carried=False)
    batch = make_batch()
    params, variables = start(task, batch)
    before = jax.jit(task.causal)(params, variables, batch)
    assert before.shape == (4, 7, VOCABULARY)
    np.testing.assert_allclose(np.exp(before).sum(-1), 1, rtol=1e-5)
    perturbed = batch["tokens"].copy()
    perturbed[:, 5] = 4 + (perturbed[:, 5] - 3) % (VOCABULARY - 4)
    after = jax.jit(task.causal)(params, variables, batch | {"tokens": perturbed})
    np.testing.assert_array_equal(before[:, :5], after[:, :5])
    assert np.all(np.abs(before[:, 5] - after[:, 5]).max(-1) > 0)


@pytest.mark.parametrize("model", [Recurrent(), Stateless()])
def test_greedy_continuations_match_full_evaluation(model):
    task = LanguageModelling(model, carried=False, temperature=0.0, new_tokens=5)
    batch = make_batch(length=6, tokens_length=np.array([7, 3, 1, 5], np.int32))
    params, variables = start(task, batch)
    outputs = jax.jit(task.predict)(params, variables, batch, KEY)

    @jax.jit
    def after(text, length):  # the model is causal, so the text may be padded
        return jax.nn.log_softmax(model.apply({"params": params[GROUP]}, text, train=False)[0][0, length - 1])

    for row, length in enumerate(batch["tokens_length"]):
        text, total, ended = batch["tokens"][row, :length].tolist(), 0.0, False
        for place in range(5):
            chances = np.array(after(np.array([text + [0] * (12 - len(text))]), len(text)))
            allowed = chances.copy()
            allowed[[0, 1, 3]] = -np.inf
            token = 0 if ended else int(allowed.argmax())
            assert int(outputs["continuation"][row, place]) == token
            total += 0.0 if ended else float(chances[token])
            ended = ended or token == 2
            text.append(token)
        np.testing.assert_allclose(outputs["log_probability"][row], total, rtol=1e-4)


@functools.cache
def predictor():
    task = LanguageModelling(Recurrent(), new_tokens=6)
    params, variables = start(task, make_batch())
    return jax.jit(lambda batch: jax.jit(task.predict)(params, variables, batch, KEY))


@settings(max_examples=10, deadline=None)
@given(length=st.integers(1, 5), junk=st.integers(0, VOCABULARY - 1), seed=st.integers(0, 100))
def test_continuations_do_not_depend_on_padding_and_other_prompts(length, junk, seed):
    prompt = make_batch(size=1, length=4, seed=seed)["tokens"]
    prompt[:, length:] = 0
    batch = {name: make_batch(size=1)[name] for name in ("weight", "index")}
    exact = predictor()(batch | {"tokens": prompt, "tokens_length": np.array([length])})
    others = make_batch(size=3, length=7, seed=seed + 1)
    others["index"] = np.array([5, 0, 9])
    others["tokens"][1] = junk
    others["tokens"][1, :length] = prompt[0, :length]
    actual = predictor()(others | {"tokens_length": np.array([8, length, 2])})
    np.testing.assert_array_equal(actual["continuation"][1], exact["continuation"][0])
    np.testing.assert_allclose(actual["log_probability"][1], exact["log_probability"][0], rtol=1e-5)


def test_prompt_lengths_default_to_the_tokens_before_padding():
    batch = make_batch(size=2)
    batch["tokens"][1, 3:] = 0
    expected = predictor()(batch | {"tokens_length": np.array([8, 3])})
    jax.tree.map(np.testing.assert_array_equal, predictor()(batch), expected)


def test_samples_depend_on_the_key_and_the_example():
    batch = make_batch(size=2, length=5)
    batch["tokens"][1] = batch["tokens"][0]
    task = LanguageModelling(Recurrent(), temperature=2.0, new_tokens=20)
    params, variables = start(task, batch)
    samples = [
        jax.jit(task.predict)(params, variables, batch, jax.random.key(seed))["continuation"] for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(samples[0], samples[1])
    assert np.any(samples[0] != samples[2])
    assert np.any(samples[0][0] != samples[0][1])
    assert not np.isin(samples[0], [1, 3]).any()


def test_dropout_depends_on_the_key_and_is_off_in_evaluation():
    task = LanguageModelling(Recurrent(dropout=0.5), carried=False)
    batch = make_batch()
    params, variables = start(task, batch)
    losses = [
        float(loss_of(task, params, variables, batch, key=jax.random.key(seed)).terms["cross_entropy"].sum)
        for seed in (0, 0, 1)
    ]
    assert losses[0] == losses[1] != losses[2]
    expected = nll(params, batch["tokens"], 0.25)[0].sum()
    np.testing.assert_allclose(evaluated(task, params, variables, batch)["loss"][0], expected, rtol=1e-5)


class Letters(tuple):
    """Tokenizer stub."""

    def decode(self, ids):
        return "".join(self[token] for token in ids if token > 3)


def test_predictions_have_readable_output_and_a_picture():
    task = LanguageModelling(Recurrent(), new_tokens=4)
    names: Any = {"tokens": Letters("____abcde")}
    batch = make_batch(size=3, tokens_length=np.array([8, 2, 3]))
    params, variables = start(task, batch)
    outputs = {name: np.asarray(value) for name, value in jax.jit(task.predict)(params, variables, batch, KEY).items()}
    example, output = ({name: value[1] for name, value in tree.items()} for tree in (batch, outputs))
    readable = task.presentation.readable(example, output, names)
    assert readable["prompt"] == names["tokens"].decode(batch["tokens"][1, :2])
    assert readable["continuation"] == names["tokens"].decode(outputs["continuation"][1])
    batch["weight"][2] = 0
    pictures = task.presentation.pictures(batch, outputs, {"loss": 1.0}, names)
    assert set(pictures) == {"continuations"}
    assert pictures["continuations"].dtype == np.uint8
    assert pictures["continuations"].shape[1:] == (900, 3)
    unnamed = task.presentation.pictures(batch, outputs, {}, {})["continuations"]
    assert unnamed.shape[1:] == (900, 3)


@pytest.mark.parametrize(
    "arguments",
    [
        {"new_tokens": 0},
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 2.0},
    ],
)
def test_arguments_out_of_range_are_refused(arguments):
    with pytest.raises(UserError):
        LanguageModelling(Recurrent(), **arguments)


def test_carry_requires_a_recurrent_model():
    with pytest.raises(UserError, match="carried=False"):
        LanguageModelling(Stateless())


def test_incompatible_batches_are_refused_with_a_fix():
    task = LanguageModelling(Recurrent())
    batch = make_batch()
    params, variables = start(task, batch)
    shuffled = {name: value for name, value in batch.items() if name != "first"}
    with pytest.raises(UserError, match='order="streams"'):
        loss_of(task, params, variables, shuffled, task.carry(batch))
    with pytest.raises(UserError, match="needs 'tokens'"):
        task.init(KEY, {"image": batch["tokens"], "weight": batch["weight"]})
    with pytest.raises(UserError, match="int32"):
        task.evaluate(params, variables, batch | {"tokens": batch["tokens"].astype(np.float32)}, KEY)
