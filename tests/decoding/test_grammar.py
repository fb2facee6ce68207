"""Constrained decoding: automata against `re`, and every decoded text fits, also of random models."""

import json
import re
import string

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jaxdl.data.text.special_tokens import END, PAD, START, UNKNOWN
from jaxdl.data.text.tokenizers import BPE, Characters, Words
from jaxdl.decoding.automaton import Automaton
from jaxdl.decoding.beam_search import beam, greedy
from jaxdl.decoding.grammar import Grammar, json_calls
from jaxdl.errors import UserError

LETTERS = "ab1"
FUNCTIONS = {
    "set_alarm": {"time": r'"([01]\d|2[0-3]):[0-5]\d"', "label?": '"[a-z]+( [a-z]+)*"'},
    "set_light": {"room": '"(kitchen|hall)"', "on": "true|false", "level?": r"[1-9]\d?|100"},
}
CALLS = json_calls(FUNCTIONS)
TEXTS = [
    '{"function":"set_alarm","time":"07:30","label":"go to the gym"}',
    '{"function":"set_light","room":"kitchen","on":true,"level":65}',
    '{"function":"set_light","room":"hall","on":false}',
    "wake me at 12:48 or 19:20, please",
]


def operands(inner):
    repeated = st.tuples(inner, st.sampled_from(["?", "*", "+", "{2}", "{1,}", "{0,2}"])).map(
        lambda pair: f"({pair[0]}){pair[1]}"
    )
    several = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(repeated, several.map("".join), several.map(lambda parts: f"(?:{'|'.join(parts)})"))


PATTERNS = st.recursive(st.sampled_from(["a", "b", "1", r"\d", "[ab]", "[^a]", "."]), operands, max_leaves=6)


@settings(max_examples=80, deadline=None)
@given(PATTERNS, st.lists(st.text(LETTERS, max_size=5), min_size=5, max_size=20))
@example("a|b1", ["a1", "b1", "a", "b"])
@example("(a|b)*1", ["1", "ab1", "ab"])
def test_automata_match_the_texts_that_re_matches(pattern, texts):
    automaton = Automaton.compile(pattern, LETTERS)
    assert [automaton.matches(text) for text in texts] == [bool(re.fullmatch(pattern, text)) for text in texts]


@pytest.mark.parametrize("pattern", ["(a", "a)", "[a", "*a", "a{", "a{3,2}", "a{0}", r"\w", "b-[b-a]", "a\\", "^a"])
def test_unsupported_patterns_are_refused(pattern):
    with pytest.raises(UserError, match="regular expression"):
        Automaton.compile(pattern, LETTERS)


class Vocabulary:
    """Vocabulary that is trained at once."""

    def __init__(self, kind, texts=TEXTS):
        self.tokenizer = kind.train(texts)

    def load(self):
        return self.tokenizer


VOCABULARIES = {"characters": Vocabulary(Characters(60)), "bpe": Vocabulary(BPE(110))}


def decoded(vocabulary, width, max_length, seed, scale=4.0, pattern=CALLS):
    """Decodes 6 texts of a random model whose logits depend on the token and the step."""
    tokenizer, automaton = vocabulary.load(), Grammar(pattern, vocabulary).automaton()
    tables = scale * jax.random.normal(jax.random.key(seed), (6, max_length + 1, len(tokenizer)))

    def model(carry, token):
        index, row = carry
        return tables[row, index] + jnp.sin(token[:, None] * jnp.arange(len(tokenizer))), (index + 1, row)

    step, carry = automaton.constrain(model, (jnp.zeros((), jnp.int32), jnp.arange(6)), 6, max_length)
    options = {"forbidden": (PAD, START, UNKNOWN), "mask": automaton.allowed}
    start = jnp.full(6, START, jnp.int32)
    if width == 1:
        return greedy(step, carry, start, END, max_length, **options)
    return beam(step, carry, start, END, max_length, width, **options)


@settings(max_examples=8, deadline=None)
@given(st.sampled_from(sorted(VOCABULARIES)), st.sampled_from([1, 3]), st.integers(0, 10**6))
def test_every_text_of_a_random_model_fits_the_grammar(name, width, seed):
    vocabulary = VOCABULARIES[name]
    hypotheses = decoded(vocabulary, width, 64, seed)
    for tokens, length in zip(np.asarray(hypotheses.tokens), np.asarray(hypotheses.length)):
        assert tokens[length - 1] == END
        text = vocabulary.load().decode(tokens[:length])
        assert re.fullmatch(CALLS, text), text
        call = json.loads(text)
        assert set(call) - {"function"} <= {argument.removesuffix("?") for argument in FUNCTIONS[call["function"]]}


def test_texts_end_within_the_maximum_length_although_the_model_never_ends():
    """The shortest call has 47 characters, so 50 tokens leave little room for the optional arguments."""
    vocabulary = VOCABULARIES["characters"]
    shortest = len('{"function":"set_alarm","time":"07:30"}') + 1
    hypotheses = decoded(vocabulary, 1, shortest, seed=0)
    texts = [vocabulary.load().decode(tokens) for tokens in np.asarray(hypotheses.tokens)]
    assert all(re.fullmatch(CALLS, text) for text in texts)
    with pytest.raises(UserError, match=f"max_length={shortest - 1} is shorter .* {shortest} tokens"):
        decoded(vocabulary, 1, shortest - 1, seed=0)


def test_without_a_choice_the_score_is_the_probability_under_the_model():
    """Masked tokens keep their probability, as forbidden ones do."""
    vocabulary = VOCABULARIES["characters"]
    hypotheses = decoded(vocabulary, 1, 8, seed=1, scale=0.0, pattern="to")
    tokens = [START, *vocabulary.load().encode("to")]
    sines = jnp.sin(jnp.array(tokens)[:, None] * jnp.arange(60))
    expected = sum(jax.nn.log_softmax(sines)[row, token] for row, token in enumerate([*tokens[1:], END]))
    np.testing.assert_allclose(hypotheses.score, np.full(6, expected), rtol=1e-5)


def test_a_constrained_beam_finds_the_most_probable_text():
    vocabulary = Vocabulary(Characters(9), ["abcde"])
    found = decoded(vocabulary, 40, 4, seed=3, pattern="[ab][abc][ab]")
    texts = {vocabulary.load().decode(tokens) for tokens in np.asarray(found.tokens)}
    assert all(re.fullmatch("[ab][abc][ab]", text) for text in texts)
    scores = [decoded(vocabulary, 1, 4, seed=3, pattern="".join(letters)).score for letters in every()]
    np.testing.assert_allclose(found.score, np.max(scores, axis=0), rtol=1e-5)


def every():
    return [(a, b, c) for a in "ab" for b in "abc" for c in "ab"]


def test_vocabularies_that_cannot_spell_the_grammar_are_refused():
    with pytest.raises(UserError, match="no text of the vocabulary's tokens matches"):
        Grammar("[xyz]+", Vocabulary(Characters(9), ["abc"])).automaton()
    with pytest.raises(UserError, match="use a vocabulary of Characters or BPE"):
        Grammar("[a-z]+", Vocabulary(Words(20))).automaton()


def test_bpe_spellings_join_to_the_text():
    tokenizer = VOCABULARIES["bpe"].load()
    for text in TEXTS:
        ids = tokenizer.encode(text)
        assert len(ids) < len(text)
        assert "".join(tokenizer.spellings[number] for number in ids) == " " + text
    assert set(string.digits[:3]) <= set(tokenizer.spellings)
