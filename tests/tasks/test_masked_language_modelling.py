"""Masked language modelling: masked share, replacements, and whole-word masking."""

from typing import Any

import flax.linen as nn
import jax
import numpy as np
import pytest

from jaxdl.data.synthetic.text import MockText
from jaxdl.data.text.special_tokens import PAD, SPECIALS, UNKNOWN
from jaxdl.data.text.tokenizers import BPE, Vocabulary
from jaxdl.data.text.windows import Windows
from jaxdl.errors import UserError
from jaxdl.models.bert import Encoder, MaskedLanguageModel
from jaxdl.models.transformer import Stack
from jaxdl.tasks.masked_language_modelling import MaskedLanguageModelling

TOKENS = np.random.default_rng(0).integers(len(SPECIALS), 30, (400, 50)).astype(np.int32)
BATCH: Any = {"tokens": TOKENS, "index": np.arange(400), "weight": np.ones(400, np.float32)}


def mask_tokens(share, whole_words, batch):
    task = MaskedLanguageModelling(nn.Module(), share=share, whole_words=whole_words)
    return task.mask_tokens(batch, jax.random.key(0), vocabulary=30)


def test_tokens_are_masked_as_in_bert():
    masked, chosen = map(np.asarray, mask_tokens(0.2, False, BATCH))
    assert abs(chosen.mean() - 0.2) < 0.01
    np.testing.assert_array_equal(masked[~chosen], TOKENS[~chosen])
    shares = [(masked == UNKNOWN)[chosen].mean(), (masked == TOKENS)[chosen].mean()]
    np.testing.assert_allclose(shares, [0.8, 0.1 + 0.1 / 26], atol=0.015)
    assert masked[masked != UNKNOWN].min() >= len(SPECIALS)


def test_masks_are_drawn_per_example_and_exclude_padding():
    part = {name: value[100:103] for name, value in BATCH.items()}
    full = mask_tokens(0.3, False, BATCH)
    cut = mask_tokens(0.3, False, part)
    for expected, actual in zip(full, cut):
        np.testing.assert_array_equal(expected[100:103], actual)
    padded: Any = {**part, "tokens": np.where(np.arange(50) < 40, part["tokens"], PAD)}
    masked, chosen = mask_tokens(0.9, False, padded)
    assert not np.any(np.asarray(chosen)[:, 40:])
    assert np.all(np.asarray(masked)[:, 40:] == PAD)


def test_whole_words_are_masked():
    words: Any = np.broadcast_to(np.arange(50) // 3, TOKENS.shape).astype(np.int32)
    _, chosen = mask_tokens(0.2, True, {**BATCH, "words": words})
    chosen = np.asarray(chosen)[:, :48].reshape(400, 16, 3)
    assert np.all(chosen == chosen[..., :1])
    assert abs(chosen.mean() - 0.2) < 0.02
    with pytest.raises(UserError, match=r"set Windows\(words=True\)"):
        mask_tokens(0.2, True, BATCH)


def test_windows_contain_word_numbers():
    corpus = MockText(examples=1, characters=400)
    source = Windows(corpus, Vocabulary(BPE(40), corpus), 30, words=True).load()
    batch = source.read(np.arange(len(source)))
    tokenizer: Any = source.names["tokens"]
    for tokens, words in zip(batch["tokens"], batch["words"]):
        assert words[0] == 0
        begins = np.diff(words)
        assert set(begins.tolist()) <= {0, 1}
        starts = [tokenizer[token][0] in " ▁\n" for token in tokens[1:]]
        assert begins.astype(bool).tolist() == starts
    plain = Windows(corpus, Vocabulary(BPE(40), corpus), 30).load()
    assert "words" not in plain.columns
    assert plain.fingerprint != source.fingerprint


def test_a_share_out_of_range_is_refused():
    with pytest.raises(UserError, match=r"share=1\.0"):
        MaskedLanguageModelling(nn.Module(), share=1.0)


def test_a_prediction_does_not_depend_on_padding():
    stack = Stack(features=8, layers=1, heads=2)
    task = MaskedLanguageModelling(MaskedLanguageModel(Encoder(30, 12, stack)))
    tokens = TOKENS[:2, :6]
    short: Any = {"tokens": tokens, "tokens_length": np.array([6, 6]), "index": np.arange(2), "weight": np.ones(2)}
    params, variables = task.init(jax.random.key(1), short)
    padded: Any = {**short, "tokens": np.pad(tokens, ((0, 0), (0, 6)), constant_values=PAD)}
    expected = task.predict(params, variables, short, jax.random.key(0))["probability"]
    actual = task.predict(params, variables, padded, jax.random.key(0))["probability"]
    np.testing.assert_allclose(actual[:, :6], expected, rtol=1e-5)
