"""Words of texts in any script, and ROUGE-L on them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.tokenizers import DefaultTokenizer

from jaxdl.metrics.translation import rouge_l
from jaxdl.metrics.words import words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Die Straße, 2 Uhr!", ["die", "straße", "2", "uhr"]),
        ("naïve cafe\u0301", ["naïve", "café"]),
        ("Собака бежит", ["собака", "бежит"]),
        ("كلب يجري", ["كلب", "يجري"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("한국어 문장", ["한국어", "문장"]),
        ("東京へ行く", ["東", "京", "へ", "行", "く"]),
        ("ภาษาไทย", ["ภ", "า", "ษ", "า", "ไ", "ท", "ย"]),
        ("版本v2发布", ["版", "本", "v2", "发", "布"]),
        ("...", []),
    ],
)
def test_words_of_scripts(text, expected):
    assert words(text) == expected


@given(st.text(st.characters(max_codepoint=127)))
def test_words_of_ascii_are_those_of_rouge_score(text):
    assert words(text) == DefaultTokenizer(use_stemmer=False).tokenize(text)


@pytest.mark.parametrize(
    ("text", "reference", "score"),
    [
        ("собака бежит", "собака бежит", 100.0),
        ("собака спит", "собака бежит", 50.0),
        ("猫在垫子上", "猫在垫上", 100 * 8 / 9),
        ("고양이가 잔다", "개가 잔다", 50.0),
    ],
)
def test_rouge_l_of_other_scripts(text, reference, score):
    np.testing.assert_allclose(rouge_l([text], [reference]), score)
