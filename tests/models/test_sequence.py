"""Recurrent language model: n-gram embeddings, carry."""

# Results that are None in other cases, and the return types of scipy and flax, are not expressed in types.
# pyright: reportOptionalMemberAccess=false, reportOptionalOperand=false, reportArgumentType=false
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false

import itertools

import jax
import numpy as np
import pytest
from modules import apply, random_weights

from jaxdl.models.sequence import LanguageModel, hashed_ngrams

TOKENS = np.random.default_rng(0).integers(0, 9, (2, 12)).astype(np.int32)


@pytest.mark.parametrize("ngrams", [1, 2, 3])
def test_parts_of_a_text_with_a_carry_equal_the_whole(ngrams):
    model = LanguageModel(9, features=6, embedding=4, ngrams=ngrams, buckets=64)
    variables = random_weights(model.init, TOKENS, train=False)
    whole, _ = apply(model, variables, TOKENS, train=False)
    carry, parts = model.initial_carry(2), []
    for start, stop in itertools.pairwise((0, 1, 6, 12)):
        logits, carry = apply(model, variables, TOKENS[:, start:stop], carry=carry, train=False)
        parts.append(logits)
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, rtol=1e-5, atol=1e-6)


def test_an_embedding_depends_on_the_last_tokens_only():
    model = LanguageModel(9, features=6, embedding=4, ngrams=3, buckets=2**15)
    variables = random_weights(model.init, TOKENS, train=False)
    weights = variables["params"]
    shapes = {name: tree["embedding"].shape for name, tree in weights.items() if "embedding" in tree}
    assert shapes == {"embed": (9, 4), "ngram2": (2**15, 4), "ngram3": (2**15, 4)}
    text = np.concatenate([np.zeros((2, 2), np.int32), TOKENS], axis=1)
    for size in (2, 3):
        ids = np.asarray(hashed_ngrams(text, size, 2**15))
        assert ids.shape == (2, 15 - size)
        assert ids.min() >= 0
        assert ids.max() < 2**15
        grams = [tuple(row[start : start + size]) for row in text for start in range(15 - size)]
        found = dict(zip(grams, ids.ravel()))
        assert all(found[gram] == number for gram, number in zip(grams, ids.ravel()))
        assert len(set(found.values())) == len(found)


def test_hashes_of_all_pairs_of_characters_spread_over_the_buckets():
    pairs = np.array(list(itertools.product(range(88), repeat=2)), np.int32)
    ids = np.asarray(jax.jit(hashed_ngrams, static_argnums=(1, 2))(pairs, 2, 2**15)).ravel()
    counts = np.bincount(ids, minlength=2**15)
    assert counts.max() <= 8
    assert (counts > 0).sum() > 0.8 * 2**15 * (1 - np.exp(-(88**2) / 2**15))  # of random hashes
