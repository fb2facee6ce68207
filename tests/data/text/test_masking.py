"""Masks in texts to predict for."""

import numpy as np
import pytest

from jaxdl.data.text.masking import MaskingTokenizer
from jaxdl.data.text.special_tokens import UNKNOWN
from jaxdl.data.text.tokenizers import BPE, Characters, Words


@pytest.mark.parametrize("kind", [Words(50), BPE(300)])
@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("the [MASK] sat", "the cat sat"),
        ("[MASK] cat sat.", "the cat sat."),
        ("the cat [MASK].", "the cat sat."),
        ("the [MASK] [MASK] on the mat", "the cat sat on the mat"),
        ("the cat [MASK]", "the cat sat"),
    ],
)
def test_a_mask_replaces_a_word(kind, text, known):
    tokenizer = kind.train(["the cat sat on the mat."] * 20)
    ids, widths = MaskingTokenizer(tokenizer, "[MASK]").measure_all([text])[0]
    expected, masked = tokenizer.encode(known), ids == UNKNOWN
    assert masked.sum() == text.count("[MASK]")
    assert len(ids) == len(expected)
    np.testing.assert_array_equal(ids[~masked], expected[~masked])
    assert sum(widths) == len(text)


def test_a_mask_replaces_a_character():
    tokenizer = Characters(40).train(["the cat sat"])
    masking = MaskingTokenizer(tokenizer, "[MASK]")
    ids = masking.encode("the [MASK]at[MASK]")
    np.testing.assert_array_equal(ids, [*tokenizer.encode("the "), UNKNOWN, *tokenizer.encode("at"), UNKNOWN])
    np.testing.assert_array_equal(masking.encode("the cat"), tokenizer.encode("the cat"))


def test_characters_outside_the_vocabulary_are_found_beside_a_mask():
    masking = MaskingTokenizer(Characters(40).train(["abc"]), "[MASK]")
    assert masking.first_unknown("a[MASK]b") is None
    assert masking.first_unknown("a[MASK]bé") == 8
