"""Transformers: attention masks, KV caches, packing and published sizes."""

import dataclasses
import functools
import math
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from modules import apply, random_weights

from jaxdl.errors import UserError
from jaxdl.models.bert import Encoder, MaskedLanguageModel, SequenceClassifier, TokenClassifier, bert
from jaxdl.models.gpt import Decoder, gpt2, llama
from jaxdl.models.layers.attention import MultiHeadAttention, RelativeBias, merged, rotate
from jaxdl.models.t5 import EncoderDecoder, Pointer, t5
from jaxdl.models.transformer import POSITIONS, Stack
from jaxdl.models.vit import VisionTransformer, vit
from jaxdl.tasks.language_modelling import LanguageModelling

SMALL = Decoder(11, 12, Stack(features=8, layers=2, heads=4, causal=True, init_std=0.3))
TOKENS = np.random.default_rng(0).integers(1, 11, (2, 12)).astype(np.int32)
CHOICES: dict[str, dict[str, Any]] = {name: {"positions": name} for name in POSITIONS} | {
    "grouped": {"kv_heads": 2},
    "window": {"window": 3},
    "llama": {"norm": "rms", "gated": True, "activation": nn.silu, "use_bias": False, "head_size": 6},
    "post": {"order": "post"},
    "remat": {"remat": "all"},
    "scan": {"scan": True, "remat": "dots", "positions": "relative"},
    "ngrams": {"ngrams": (2, 3)},
    "experts": {"experts": 3, "experts_per_token": 2, "gated": True},
}


def initialized(tied: Any = True, ngrams: Any = (), **changes: Any):
    """Returns a small decoder and its parameters."""
    stack = dataclasses.replace(SMALL.stack, **changes)
    model = dataclasses.replace(SMALL, tied=tied, ngrams=ngrams, slots=50, stack=stack)
    return model, random_weights(model.init, TOKENS, train=False)


@functools.cache
def chosen(choice: str):
    """Returns the decoder `choice` and its parameters."""
    return initialized(**CHOICES[choice])


def softmax(x):
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


def logits(model, params, tokens, **options):
    return np.asarray(apply(model, params, tokens, train=False, **options)[0])


@pytest.mark.parametrize("choice", CHOICES)
def test_decoding_with_a_cache_matches_teacher_forcing(choice):
    model, params = chosen(choice)
    expected = logits(model, params, TOKENS)
    carry, parts, start = model.initial_carry(2), [], 0
    for size in [1, 1, 5, 5]:
        part, carry = apply(model, params, TOKENS[:, start : start + size], carry=carry, train=False)
        parts.append(part)
        start += size
    np.testing.assert_allclose(np.concatenate(parts, axis=1), expected, atol=1e-5)


@pytest.mark.parametrize("choice", CHOICES)
def test_attention_is_causal(choice):
    model, params = chosen(choice)
    perturbed = TOKENS.copy()
    perturbed[:, 7] = (perturbed[:, 7] + 3) % 11
    before, after = logits(model, params, TOKENS), logits(model, params, perturbed)
    np.testing.assert_allclose(before[:, :7], after[:, :7], atol=1e-6)
    assert np.all(np.abs(before[:, 7] - after[:, 7]).max(-1) > 1e-3)
    seen_by = np.abs(before - after).max((0, 2)) > 1e-6
    assert np.all(seen_by[8:])  # two blocks with a window of 3 reach 4 tokens back
    if model.stack.window:
        far = perturbed.copy()
        far[:, 0] = (far[:, 0] + 3) % 11
        assert np.abs(logits(model, params, far) - after)[:, 5:].max() < 1e-6


@pytest.mark.parametrize("choice", ["learned", "sinusoidal", "rotary", "relative", "window", "ngrams"])
def test_packed_sequences_equal_separate_ones(choice):
    model, params = chosen(choice)
    segments = np.array([[1] * 3 + [2] * 6 + [3] * 3, [1] * 6 + [2] * 6], np.int32)
    packed = logits(model, params, TOKENS, segments=segments)
    for start in (0, 3, 6, 9):
        separate = logits(model, params, np.roll(TOKENS, -start, axis=1))  # attention is causal
        for row, segment in enumerate(segments[:, start]):
            inside = np.flatnonzero(segments[row] == segment)
            if inside[0] == start:
                np.testing.assert_allclose(packed[row, inside], separate[row, : len(inside)], atol=1e-5)


@pytest.mark.parametrize("choice", ["learned", "relative", "window", "grouped", "ngrams"])
def test_prompts_of_different_lengths_are_prefilled_together(choice):
    model, params = chosen(choice)
    expected = logits(model, params, TOKENS)  # attention is causal, so these are also the logits of shorter prompts
    lengths = np.array([3, 8], np.int32)
    next_logits, carry = apply(model, params, TOKENS[:, :9], lengths, model.initial_carry(2), method="read")
    np.testing.assert_allclose(next_logits, expected[np.arange(2), lengths - 1], atol=1e-5)
    for position in lengths + np.arange(3)[:, None]:
        token = TOKENS[np.arange(2), position][:, None]
        following, carry = apply(model, params, token, carry=carry, train=False)
        np.testing.assert_allclose(following[:, 0], expected[np.arange(2), position], atol=1e-5)


def test_rotary_scores_depend_on_relative_positions_only():
    x = np.random.default_rng(0).normal(size=(2, 1, 6, 2, 8)).astype(np.float32)
    places = jnp.arange(6)[None]

    rotated = jax.jit(lambda shift: rotate(jnp.asarray(x), places + shift, 100.0))

    def scores(query, key):
        return np.einsum("bqhd,bkhd->bhqk", query, key)

    np.testing.assert_allclose(scores(*rotated(0)), scores(*rotated(37)), atol=1e-4)
    assert np.abs(scores(*rotated(0)) - scores(*x)).max() > 0.1
    np.testing.assert_allclose(np.square(rotated(0)).sum(), np.square(x).sum(), rtol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_relative_position_buckets_match_t5(causal):
    def reference_bucket(distance):
        buckets, far, bucket = 32, 128, 0
        if causal:
            away = max(-distance, 0)
        else:
            buckets //= 2
            bucket, away = (buckets if distance > 0 else 0), abs(distance)
        near = buckets // 2
        if away < near:
            return bucket + away
        return bucket + min(buckets - 1, near + int(math.log(away / near) / math.log(far / near) * (buckets - near)))

    module = RelativeBias(heads=1, causal=causal)
    table = jnp.arange(32.0)[:, None]
    key = jnp.arange(0, 300, 7)[None]
    biases = module.apply({"params": {"table": table}}, jnp.full((1, 1), 150), key)
    assert np.asarray(biases)[0, 0, 0].tolist() == [reference_bucket(int(position) - 150) for position in key[0]]


def test_attention_ignores_masked_keys():
    module = MultiHeadAttention(features=8, heads=2)
    x = np.random.default_rng(0).normal(size=(1, 4, 8)).astype(np.float32)
    params = random_weights(module.init, x)
    mask = np.array([True, True, False, True])[None, None, None]

    def attended(x, memory, mask: Any = mask):
        return apply(module, params, x, apply(module, params, memory, method="project_memory"), mask=mask)

    perturbed = x.copy()
    perturbed[0, 2] += 5.0
    np.testing.assert_allclose(attended(x, x), attended(x, perturbed), atol=1e-6)
    assert np.abs(attended(x, x, None) - attended(x, perturbed, None)).max() > 1e-3
    assert np.abs(attended(x, x) - attended(perturbed, x))[0, 2].max() > 1e-3


def test_published_sizes_are_reproduced():
    def count(model, *inputs):
        variables = jax.eval_shape(lambda: model.init(jax.random.key(0), *inputs, train=False))
        return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables))

    tokens = jnp.zeros((1, 8), jnp.int32)
    # Scanned layers are traced once.
    assert count(gpt2(scan=True), tokens) == 124_439_808
    assert count(llama(scan=True), tokens) == 6_738_415_616
    pooled = SequenceClassifier(bert(scan=True), outputs=2)
    assert count(pooled, tokens) - (768 * 2 + 2) == 109_482_240
    assert count(t5(), tokens, tokens) == 60_506_624
    assert count(vit(scan=True), jnp.zeros((1, 224, 224, 3))) == 86_567_656


READER = Encoder(11, 12, Stack(features=8, layers=2, heads=4, init_std=0.3), types=2, embedding_norm=True)


@pytest.mark.parametrize("choice", ["none", "learned", "sinusoidal", "rotary", "relative", "post"])
def test_an_encoder_ignores_padding_and_other_packed_sequences(choice):
    model = dataclasses.replace(READER, stack=dataclasses.replace(READER.stack, **CHOICES[choice]))
    params = random_weights(model.init, TOKENS, train=False)
    encode: Any = functools.partial(apply, model, params, train=False)
    whole, short = encode(TOKENS), encode(TOKENS[:1, :5])[0]
    padded = encode(TOKENS, length=np.array([5, 12]))
    segments = np.array([[1] * 5 + [2] * 4 + [0] * 3, [3] * 12], np.int32)
    packed = encode(TOKENS, segments=segments)
    for outputs in (padded, packed):
        np.testing.assert_allclose(outputs[0, :5], short, atol=1e-5)
        np.testing.assert_allclose(outputs[1], whole[1], atol=1e-5)
    perturbed = TOKENS.copy()
    perturbed[0, 4] = (perturbed[0, 4] + 3) % 11
    assert np.abs(encode(perturbed) - whole)[0, 0].max() > 1e-4, "a token does not see those after it"


def test_letter_cases_change_nothing_until_their_embeddings_are_trained():
    model, cases = TokenClassifier(dataclasses.replace(READER, cases=4), outputs=5), TOKENS % 4
    params = nn.meta.unbox(model.init(jax.random.key(0), TOKENS, train=False)["params"])
    plain = TokenClassifier(READER, outputs=5).apply({"params": params}, TOKENS, train=False)
    np.testing.assert_array_equal(model.apply({"params": params}, TOKENS, cases=cases, train=False), plain)
    params["encoder"]["embed"]["case"]["embedding"] += np.arange(32).reshape(4, 8)
    changed = np.asarray(model.apply({"params": params}, TOKENS, cases=cases, train=False))
    assert np.abs(changed - plain).max() > 1e-3


def test_heads_have_their_shapes_and_ignore_padding():
    logits = MaskedLanguageModel(READER)
    params = random_weights(logits.init, TOKENS, train=False)
    every = np.asarray(apply(logits, params, TOKENS, train=False))
    assert every.shape == (2, 12, 11)
    places = np.array([[3, 7], [0, 11]])
    some = apply(logits, params, TOKENS, places=places, train=False)
    np.testing.assert_allclose(some, np.take_along_axis(every, places[..., None], axis=1), atol=1e-6)
    tagger = TokenClassifier(READER, outputs=5)
    tags = jax.eval_shape(lambda key: tagger.init_with_output(key, TOKENS, train=False)[0], jax.random.key(0))
    assert tags.shape == (2, 12, 5)
    for pool in ("cls", "mean"):
        model = SequenceClassifier(READER, outputs=3, pool=pool)
        params = random_weights(model.init, TOKENS, train=False)
        outputs = apply(model, params, TOKENS, length=np.array([5, 12]), train=False)
        separate = apply(model, params, TOKENS[:1, :5], train=False)
        np.testing.assert_allclose(outputs[0], separate[0], atol=1e-5)
    with pytest.raises(ValueError, match="must be 'cls' or 'mean'"):
        random_weights(SequenceClassifier(READER, outputs=3, pool="last").init, TOKENS, train=False)


PAIRS = {
    "t5": t5(11, 12, features=8, layers=2, heads=2, head_size=4, init_std=0.3),
    "t5 1.1": t5(11, 12, tied=False, features=8, layers=2, heads=2, head_size=4, gated=True, init_std=0.3),
    "first": EncoderDecoder(
        11,
        12,
        Stack(features=8, layers=2, heads=2, positions="sinusoidal", order="post", init_std=0.3),
        Stack(8, 2, 2, positions="sinusoidal", order="post", causal=True, cross=True, init_std=0.3),
    ),
    "rotary": EncoderDecoder(
        11, 12, Stack(8, 2, 2, init_std=0.3), Stack(8, 2, 2, causal=True, cross=True, init_std=0.3), shared=False
    ),
    "copies": EncoderDecoder(
        11, 12, Stack(8, 2, 2, init_std=0.3), Stack(8, 2, 2, causal=True, cross=True, init_std=0.3), copies=True
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_encoder_decoder_with_a_cache_matches_teacher_forcing(name):
    model = PAIRS[name]
    length = np.array([5, 12])
    params = random_weights(model.init, TOKENS, TOKENS, train=False)
    expected: Any = apply(model, params, TOKENS, TOKENS[::-1], length=length, train=False)
    memory = apply(model, params, TOKENS, length=length, method="encode")
    carry = apply(model, params, memory, method="start")
    for place in range(12):
        logits, carry = apply(model, params, memory, carry, TOKENS[::-1][:, place], method="decode")
        np.testing.assert_allclose(logits, expected[:, place], atol=1e-5)
    perturbed = TOKENS.copy()
    perturbed[0, 5:] = (perturbed[0, 5:] + 3) % 11
    actual: Any = apply(model, params, perturbed, TOKENS[::-1], length=length, train=False)
    np.testing.assert_allclose(actual, expected, atol=1e-6)
    with pytest.raises(ValueError, match="causal=True and cross=True"):
        random_weights(dataclasses.replace(model, decoder=model.encoder).init, TOKENS, TOKENS, train=False)


def test_a_pointer_mixes_copy_probabilities():
    shapes = (1, 2, 4), (1, 3, 4), (1, 2, 6)
    x, keys, logits = (np.random.default_rng(0).normal(size=shape).astype(np.float32) for shape in shapes)
    inputs, mask = np.array([[3, 5, 3]]), np.array([[[True, True, False]]])
    pointer = Pointer(4)
    params = random_weights(pointer.init, x, logits, keys, inputs, mask)
    probabilities = np.exp(apply(pointer, params, x, logits, keys, inputs, mask))
    np.testing.assert_allclose(probabilities.sum(-1), 1.0, atol=1e-6)
    kernels = {name: value["kernel"] for name, value in params["params"].items() if name != "key"}
    share = 1 / (1 + np.exp(-(x @ kernels["gate"] + params["params"]["gate"]["bias"] + 1.0)))
    looked = softmax((x @ kernels["query"]) @ keys[0, :2].T / 2.0)
    expected = share * softmax(logits)
    expected[0, :, 3] += ((1 - share) * looked)[0, :, 0]
    expected[0, :, 5] += ((1 - share) * looked)[0, :, 1]
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)


def test_a_vision_transformer_embeds_patches():
    image = jnp.zeros((2, 8, 12, 3))
    stack = Stack(features=8, layers=1, heads=2, positions="none", init_std=0.3)
    for pool, positions in (("cls", "learned"), ("mean", "sinusoidal")):
        model = VisionTransformer(5, 4, stack, pool, positions)
        logits, params = jax.eval_shape(
            lambda model=model: model.init_with_output(jax.random.key(1), image, train=False)
        )
        assert logits.shape == (2, 5)
        if pool == "cls":
            assert nn.unbox(params)["params"]["place"].shape == (7, 8)
    with pytest.raises(ValueError, match="patch=5 does not divide 8x12"):
        random_weights(VisionTransformer(5, 5, stack).init, image, train=False)


def test_the_stem_of_a_vision_transformer_replaces_a_part_of_the_patch():
    image, stack = jnp.zeros((2, 8, 12, 3)), Stack(features=8, layers=1, heads=2, positions="none")
    for stem, inputs in (((4,), 16), ((4, 6), 6)):
        model = VisionTransformer(5, 4, stack, stem=stem)
        params = jax.eval_shape(lambda model=model: model.init(jax.random.key(0), image, train=False))
        assert nn.unbox(params)["params"]["entry"]["kernel"].shape == (inputs, 8)
    with pytest.raises(ValueError, match="patch=4 must be a multiple of 8"):
        random_weights(VisionTransformer(5, 4, stack, stem=(4, 4, 4)).init, image, train=False)


def test_patch_dropout_leaves_patches_out_in_training_only():
    class Count(nn.Module):
        features: int = 8
        dtype: Any = "float32"

        def __call__(self, tokens, *, train):
            assert tokens.shape[1] == (4 if train else 6)
            return tokens, None

    model = VisionTransformer(5, 4, cast(Any, Count()), patch_dropout=0.3)
    image = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 12, 3)), jnp.float32)
    variables = random_weights(model.init, image, train=False)
    outputs: list[Any] = [
        model.apply(variables, image, train=True, rngs={"dropout": jax.random.key(key)}) for key in (0, 1)
    ]
    assert not np.allclose(outputs[0], outputs[1])
    model.apply(variables, image, train=False)


def test_invalid_options_are_refused():
    for options, message in (({"positions": "rope"}, "one of none, learned"), ({"norm": "batch"}, "layer, rms")):
        with pytest.raises(ValueError, match=message):
            initialized(**options)
    with pytest.raises(ValueError, match="13 tokens exceed 12 learned positions"):
        random_weights(chosen("learned")[0].init, np.ones((1, 13), np.int32), train=False)
    model, params = initialized()
    with pytest.raises(ValueError, match="packed sequences do not support a carry"):
        apply(model, params, TOKENS, carry=model.initial_carry(2), segments=TOKENS, train=False)


@pytest.mark.parametrize("tied", [True, False])
def test_a_chunked_loss_equals_the_full_loss_with_gradients(tied):
    model = dataclasses.replace(SMALL, tied=tied)
    batch = {
        "tokens": np.where(np.arange(12) < np.array([[12], [9]]), TOKENS, 0),
        "weight": np.array([1.0, 0.5], np.float32),
        "index": np.arange(2),
    }
    params, variables = random_weights(LanguageModelling(model, carried=False).init, batch)
    results = []
    for chunk in (0, 4, 5):
        task = LanguageModelling(model, carried=False, chunk=chunk)

        def loss(params, task=task):
            terms = task.phases[0].loss(params, variables, batch, jax.random.key(1), 0, {}).terms
            return terms["cross_entropy"].sum, task.evaluate(params, variables, batch, jax.random.key(1)).metrics

        results.append(jax.jit(jax.value_and_grad(loss, has_aux=True))(params))
    for result in results[1:]:
        jax.tree.map(
            lambda actual, two: np.testing.assert_allclose(actual, two, rtol=1e-4, atol=1e-5), results[0], result
        )


def test_a_chunked_loss_never_materializes_all_logits():
    model = Decoder(5000, 64, Stack(features=8, layers=1, heads=1, causal=True))
    batch = {"tokens": jnp.ones((2, 65), jnp.int32), "weight": jnp.ones(2), "index": jnp.arange(2)}

    def largest(chunk):
        task = LanguageModelling(model, carried=False, chunk=chunk)
        params, variables = nn.unbox(jax.eval_shape(task.init, jax.random.key(0), batch))

        def loss(params, variables):
            outcome = task.phases[0].loss(params, variables, batch, jax.random.key(1), 0, {})
            return outcome.terms["cross_entropy"].sum

        text = jax.jit(jax.grad(loss)).lower(params, variables).as_text()
        return "2x64x5000xf32" in text or "128x5000xf32" in text

    assert largest(0)
    assert not largest(8)
    with pytest.raises(UserError, match="chunk=-1"):
        LanguageModelling(model, carried=False, chunk=-1)


def test_lora_starts_as_the_base_model_and_can_be_merged():
    model, params = initialized()
    low = dataclasses.replace(model, stack=dataclasses.replace(model.stack, lora=2))
    initial = nn.unbox(jax.jit(functools.partial(low.init, train=False))(jax.random.key(5), TOKENS))["params"]
    filled = {**initial, **jax.tree.map(lambda leaf: leaf, params["params"])}
    stack = dict(params["params"]["stack"])
    for number in range(2):
        attention = initial["stack"][f"block_{number}"]["attention"]
        extra = {name: value for name, value in attention.items() if name.endswith("_low")}
        block = stack[f"block_{number}"]
        stack[f"block_{number}"] = {**block, "attention": {**block["attention"], **extra}}
    filled["stack"] = stack
    np.testing.assert_allclose(logits(low, {"params": filled}, TOKENS), logits(model, params, TOKENS), atol=1e-6)
    moved = jax.tree.map(lambda leaf: leaf + 0.1, filled)
    merged_params = merged(moved)
    assert jax.tree.structure(merged_params) == jax.tree.structure(params["params"])
    np.testing.assert_allclose(
        logits(low, {"params": moved}, TOKENS), logits(model, {"params": merged_params}, TOKENS), atol=1e-5
    )
