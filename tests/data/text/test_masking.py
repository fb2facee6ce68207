"""Masks in texts to predict for."""

import numpy as np
import pytest

from jaxdl.data.text.masking import MaskingTokenizer
from jaxdl.data.text.special_tokens import UNKNOWN
from jaxdl.data.text.tokenizers import BPE, Characters, Words


@pytest.mark.parametrize(("kind", "before"), [(Characters(40), "the "), (Words(20), "the"), (BPE(60), "the")])
def test_a_mask_is_one_unknown_token_between_the_other_tokens(kind, before):
    tokenizer = kind.train(["the cat sat on the mat"] * 3)
    masking = MaskingTokenizer(tokenizer, "[MASK]")
    text = "the [MASK] sat"
    expected = [*tokenizer.encode(before), UNKNOWN, *tokenizer.encode(" sat")]
    np.testing.assert_array_equal(masking.encode(text), expected)
    np.testing.assert_array_equal(masking.encode("the cat"), tokenizer.encode("the cat"))
    assert sum(masking.measure_all([text])[0][1]) == len(text)


def test_characters_outside_the_vocabulary_are_found_beside_a_mask():
    masking = MaskingTokenizer(Characters(40).train(["abc"]), "[MASK]")
    assert masking.first_unknown("a[MASK]b") is None
    assert masking.first_unknown("a[MASK]bé") == 8
