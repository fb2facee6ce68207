"""Kneser-Ney n-grams against a slow dictionary implementation, and normalization."""

import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import kneser_ney
from benchmarks.kneser_ney import score
from jaxdl.config import resolve
from jaxdl.config.experiment import build
from jaxdl.data.source import read_texts
from jaxdl.data.synthetic.text import MockText
from jaxdl.data.text.tokenizers import Characters
from jaxdl.decoding.ngrams import KneserNey, NGrams, _discounts
from jaxdl.errors import UserError

texts_and_size = st.integers(2, 5).flatmap(
    lambda size: st.tuples(
        st.lists(st.lists(st.integers(0, size - 1), max_size=40), min_size=1, max_size=4).filter(any), st.just(size)
    )
)


class Reference:
    """Formulas of Chen and Goodman with one dictionary per order."""

    def __init__(self, texts, order, size):
        self.size, self.tables = size, {}
        for length in range(1, order + 1):
            if length == order:
                counts = Counter(gram for text in texts for gram in self.grams(text, order))
            else:
                before = defaultdict(set)
                for text in texts:
                    for gram in self.grams(text, length + 1):
                        before[gram[1:]].add(gram[0])
                counts = Counter({gram: len(firsts) for gram, firsts in before.items()})
            self.tables[length] = counts, self.discounts(counts)

    @staticmethod
    def grams(text, length):
        return [tuple(text[start : start + length]) for start in range(len(text) - length + 1)]

    @staticmethod
    def discounts(counts):
        n = [0] + [sum(count == occurrences for count in counts.values()) for occurrences in (1, 2, 3, 4)]
        fallback = [0.5, 1.0, 1.5]
        if not (n[1] and n[2] and n[3]):
            return fallback
        y = n[1] / (n[1] + 2 * n[2])
        estimated = [i - (i + 1) * y * n[i + 1] / n[i] for i in (1, 2, 3)]
        return [d if 0 < d <= i else f for i, d, f in zip((1, 2, 3), estimated, fallback)]

    def probability(self, character, context):
        length = len(context) + 1
        below = 1 / self.size if length == 1 else self.probability(character, context[1:])
        counts, discounts = self.tables[length]
        following = {gram: count for gram, count in counts.items() if gram[:-1] == context}
        total = sum(following.values())
        if total == 0:
            return below
        discounted = {gram: discounts[min(count, 3) - 1] for gram, count in following.items()}
        gram = (*context, character)
        share = (following[gram] - discounted[gram]) / total if gram in following else 0.0
        return share + sum(discounted.values()) / total * below


@settings(max_examples=60, deadline=None)
@given(corpus=texts_and_size, order=st.integers(1, 4), data=st.data())
def test_probabilities_match_the_formulas_of_the_paper(corpus, order, data):
    texts, size = corpus
    model = KneserNey.fit([np.array(text, np.int64) for text in texts], order, size)
    reference = Reference(texts, order, size)
    query = data.draw(st.lists(st.integers(0, size - 1), max_size=12))
    expected = [
        math.log(reference.probability(character, tuple(query[max(0, place - order + 1) : place])))
        for place, character in enumerate(query)
    ]
    np.testing.assert_allclose(model.log_probabilities(np.array(query, np.int64)), expected, rtol=1e-9)


@settings(max_examples=60, deadline=None)
@given(corpus=texts_and_size, order=st.integers(1, 5), data=st.data())
def test_probabilities_after_any_context_sum_to_one(corpus, order, data):
    texts, size = corpus
    model = KneserNey.fit([np.array(text, np.int64) for text in texts], order, size)
    context = np.array(data.draw(st.lists(st.integers(0, size - 1), max_size=6)), np.int64)
    probabilities = model.distribution(context)
    assert np.all(probabilities > 0)
    np.testing.assert_allclose(probabilities.sum(), 1.0, rtol=1e-12)
    for character in range(size):
        text = np.append(context, character)
        np.testing.assert_allclose(model.log_probabilities(text)[-1], np.log(probabilities[character]), rtol=1e-9)


def test_estimated_discounts_are_used_where_counts_allow():
    text = np.random.default_rng(0).zipf(1.5, 3000) % 50
    counts = np.unique(text[:-1] * 50 + text[1:], return_counts=True)[1]
    discounts = _discounts(counts)
    np.testing.assert_allclose(discounts, Reference.discounts(dict(enumerate(counts.tolist()))))
    assert np.all((discounts > 0) & (discounts <= [1, 2, 3]))
    assert not np.allclose(discounts, [0.5, 1.0, 1.5])


def test_longer_contexts_improve_text_that_depends_on_them():
    cycle = np.tile([0, 1, 0, 2, 0, 3], 60)
    scores = [score(KneserNey.fit([cycle[:300]], order, 4), [cycle[300:]]) for order in (1, 2, 3)]
    assert scores[0] > scores[1] + 0.3
    assert scores[1] > scores[2] + 0.3
    assert scores[2] < 0.05
    np.testing.assert_allclose(scores[0], 0.5 * math.log(2) + 0.5 * math.log(6), rtol=0.05)


def test_the_score_excludes_the_first_character_of_each_text():
    model = KneserNey.fit([np.array([0, 1, 2, 0, 1])], 2, 3)
    texts = [np.array([2, 0, 1]), np.array([1])]
    assert score(model, texts) == -model.log_probabilities(texts[0])[1:].mean()


def test_a_text_shorter_than_the_order_uses_shorter_contexts():
    long, short = (KneserNey.fit([np.array([0, 1, 1])], order, 3) for order in (6, 2))
    assert np.all(np.isfinite(long.log_probabilities(np.arange(3))))
    assert len(long.orders) == 6
    np.testing.assert_allclose(short.distribution(np.array([2])), short.distribution(np.array([], np.int64)))


@pytest.mark.parametrize(("texts", "order", "size"), [([[0, 1]], 0, 2), ([[0, 1]], 10, 100), ([], 2, 2), ([[]], 2, 2)])
def test_invalid_texts_orders_and_sizes_are_refused(texts, order, size):
    with pytest.raises(UserError):
        KneserNey.fit([np.array(text, np.int64) for text in texts], order, size)


def test_an_empty_score_is_refused():
    with pytest.raises(UserError, match="no text to score"):
        score(KneserNey.fit([np.array([0, 1])], 1, 2), [np.array([0])])


def test_a_recipe_without_windows_of_text_is_refused():
    with pytest.raises(UserError, match="windows of text"):
        kneser_ney.load("experiments/cnn/digits.py", [])


RECIPE = '''
"""Made-up text."""
import optax
from fiddle.experimental.auto_config import auto_config

from jaxdl.data.dataset import Data
from jaxdl.data.synthetic.text import MockText
from jaxdl.data.text.windows import Windows
from jaxdl.data.text.tokenizers import Characters, Vocabulary
from jaxdl.config.experiment import Experiment
from jaxdl.models.sequence import LanguageModel
from jaxdl.tasks.language_modelling import LanguageModelling


@auto_config
def experiment(length: int = 20) -> Experiment:
    vocabulary = Vocabulary(Characters(32), MockText())
    return Experiment(
        task=LanguageModelling(LanguageModel(vocabulary=32, features=4, embedding=4)),
        data=Data(
            train=Windows(MockText(), vocabulary, length),
            evals={"validation": Windows(MockText(split="validation", characters=300), vocabulary, length, context=4)},
            batch_size=4,
            order="streams",
        ),
        optimizers={"train": optax.sgd(0.1)},
        steps=1,
    )
'''


def test_a_recipe_is_scored_on_the_tokens_of_its_windows(tmp_path, monkeypatch, capsys):
    recipe = tmp_path / "made_text.py"
    recipe.write_text(RECIPE)
    texts, size = kneser_ney.load(str(recipe), ["length=10"])
    assert size == 32
    assert set(texts) == {"train", "validation"}
    windows = build(resolve(str(recipe), [])).data.evals["validation"].load()
    assert windows.read(np.arange(len(windows)))["characters"].sum() == len(texts["validation"]) - 1

    monkeypatch.setattr("sys.argv", ["kneser_ney", f"--config={recipe}", "--order=3"])
    kneser_ney.main()
    lines = capsys.readouterr().out.splitlines()
    nats = [float(line.split("validation ")[1].split()[0]) for line in lines]
    assert [line.split()[:2] for line in lines] == [["order", "1"], ["order", "2"], ["order", "3"]]
    assert nats[0] > nats[1] > nats[2] > 0


def test_a_usage_error_is_one_line_with_exit_code_2(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["kneser_ney", "--config=experiments/cnn/digits.py"])
    with pytest.raises(SystemExit) as stopped:
        kneser_ney.main()
    assert stopped.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_ngrams_of_a_corpus_predict_its_text():
    corpus = MockText()
    tokenizer = Characters(32).train(read_texts(corpus.load(), ("text",))["text"])
    following = NGrams(corpus, 4).following(tokenizer)
    text = read_texts(corpus.load(), ("text",))["text"][0]
    ids = tokenizer.encode(text).tolist()
    for count in (0, 1, 2, 7):  # fewer and more tokens than an order uses
        probabilities = np.exp(following(tuple(ids[:count])))
        assert probabilities.shape == (32,)
        assert probabilities.sum() == pytest.approx(1.0)
        assert probabilities[ids[count]] > 3 / 32
    with pytest.raises(UserError, match="NGrams must be trained on the training split, not on 'test'"):
        NGrams(MockText(split="test"), 4).following(tokenizer)
    # Tokens beyond the order are ignored.
    np.testing.assert_array_equal(following((9, *ids[:3])), following((8, *ids[:3])))
