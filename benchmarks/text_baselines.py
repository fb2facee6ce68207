"""Text baselines without a network on the splits of the recipes.

  python -m benchmarks.text_baselines captions    caption of the nearest training image; most frequent caption
  python -m benchmarks.text_baselines sentiment   logistic regression on TF-IDF of unigrams and bigrams
  python -m benchmarks.text_baselines summaries   first words of the long description, and its first sentence
  python -m benchmarks.text_baselines entities    gazetteer of the training names; logistic regression per word
  python -m benchmarks.text_baselines code        TypeScript copied as JavaScript
  python -m benchmarks.text_baselines completion  most frequent line, and that after the same line or first word

Prints one line per method and split. Missing data sets are prepared first. No JAX.
"""

import argparse
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from jaxdl.data.builders._typescript import SPACE
from jaxdl.data.dataset import Dataset
from jaxdl.data.source import read_columns, read_texts
from jaxdl.data.text.next_lines import NextLines
from jaxdl.metrics.entities import entities as entities_of
from jaxdl.metrics.entities import entity_scores
from jaxdl.metrics.javascript import accepted
from jaxdl.metrics.translation import bleu, chrf, edit_similarity, exact_match, rouge_l

SIDES = (8, 16, 32)  # pixels: images are downsampled to these sides before the comparison


def captions() -> Iterator[str]:
    """Yields BLEU and chrF of the nearest neighbour's caption and of the most frequent caption."""
    train, *others = (_pictures(split) for split in ("train", "validation", "test"))
    usual = Counter(train[1]).most_common(1)[0][0]
    for split, (pictures, references) in zip(("validation", "test"), others):
        yield f"captions {split:10}  usual caption        {_scored([usual] * len(references), references)}"
        for side in SIDES:
            neighbours = nearest(_shrunk(train[0], side), _shrunk(pictures, side))
            borrowed = [train[1][number] for number in neighbours]
            yield f"captions {split:10}  nearest at {side:2} x {side:2}   {_scored(borrowed, references)}"


def nearest(keys: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Returns the row of `keys` [rows, features] nearest to each query, by squared distance."""
    distances = (queries**2).sum(1)[:, None] - 2 * queries @ keys.T + (keys**2).sum(1)
    return distances.argmin(1)


def _pictures(split: str) -> tuple[np.ndarray, list[str]]:
    source = Dataset("captions", split).load()
    return source.read(np.arange(len(source)))["image"], read_texts(source, ("caption",))["caption"]


def _shrunk(pictures: np.ndarray, side: int) -> np.ndarray:
    """Downsamples uint8 [images, size, size, 3] to float64 [images, side * side * 3] by means."""
    images, size = pictures.shape[:2]
    cells = pictures.reshape(images, side, size // side, side, size // side, 3)
    return cells.mean((2, 4)).reshape(images, -1) / 255


def _scored(texts: list[str], references: list[str]) -> str:
    return f"BLEU {bleu(texts, references):6.2f}  chrF {chrf(texts, references):6.2f}"


def sentiment() -> Iterator[str]:
    """Yields accuracy of logistic regression on TF-IDF of unigrams and bigrams.

    The regularization is selected on validation.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    parts = {}
    for split in ("train", "validation", "test"):
        source = Dataset("movie_reviews", split).load()
        parts[split] = read_texts(source, ("text",))["text"], read_columns(source, ("label",))["label"]
    models = {}
    for strength in (0.3, 1.0, 3.0, 10.0, 30.0):
        words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
        models[strength] = make_pipeline(words, LogisticRegression(C=strength, max_iter=1000)).fit(*parts["train"])
    best = max(models, key=lambda strength: models[strength].score(*parts["validation"]))
    for split in ("validation", "test"):
        accuracy = models[best].score(*parts[split])
        yield f"sentiment {split:10}  logistic regression, C={best:g}  accuracy {accuracy:.3f}"


def summaries() -> Iterator[str]:
    """Yields ROUGE-L of the first sentence, and of the first words (count from validation)."""
    parts = {split: _texts("debian_descriptions", split, ("source", "target")) for split in ("validation", "test")}

    def score(split: str, count: int) -> float:
        long, short = parts[split]
        return rouge_l([" ".join(text.split()[:count]) for text in long], short)

    best = max(range(4, 25), key=lambda count: score("validation", count))
    for split, (long, short) in parts.items():
        yield f"summaries {split:10}  first sentence   ROUGE-L {rouge_l([t.split('. ')[0] for t in long], short):.2f}"
        yield f"summaries {split:10}  first {best} words  ROUGE-L {score(split, best):.2f}"


def entities() -> Iterator[str]:
    """Yields F1 of a gazetteer and of a logistic regression over word forms.

    The gazetteer contains the training names, longest first. The regression uses the form of a word and of its
    neighbours; its regularization is selected on validation.
    """
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    parts = {split: _tagged(split) for split in ("train", "validation", "test")}
    names: dict[tuple[str, ...], Counter[str]] = {}
    for words, tags in zip(*parts["train"]):
        for start, end, kind in entities_of(tags):
            names.setdefault(tuple(word.lower() for word in words[start:end]), Counter())[kind] += 1
    gazetteer = {name: kinds.most_common(1)[0][0] for name, kinds in names.items()}
    rows = {
        split: [_forms(words, place) for words in sentences for place in range(len(words))]
        for split, (sentences, _) in parts.items()
    }
    flat = [tag for tags in parts["train"][1] for tag in tags]
    predictions: dict[float, dict[str, list[list[str]]]] = {}
    for strength in (0.3, 1.0, 3.0, 10.0):
        model = make_pipeline(DictVectorizer(), LogisticRegression(C=strength, max_iter=300)).fit(rows["train"], flat)
        predictions[strength] = {
            split: _cut(model.predict(rows[split]), parts[split][1]) for split in ("validation", "test")
        }

    def f1(tags: list[list[str]], split: str) -> float:
        return entity_scores(tags, parts[split][1])["f1"]

    best = max(predictions, key=lambda strength: f1(predictions[strength]["validation"], "validation"))
    for split in ("validation", "test"):
        looked_up = [_looked_up(words, gazetteer) for words in parts[split][0]]
        yield f"entities {split:10}  looked up                     F1 {f1(looked_up, split):.3f}"
        yield f"entities {split:10}  logistic regression, C={best:<6g} F1 {f1(predictions[best][split], split):.3f}"


def _looked_up(words: list[str], gazetteer: Mapping[tuple[str, ...], str]) -> list[str]:
    tags, place, longest = ["O"] * len(words), 0, max(map(len, gazetteer))
    while place < len(words):
        for length in range(min(longest, len(words) - place), 0, -1):
            kind = gazetteer.get(tuple(word.lower() for word in words[place : place + length]))
            if kind:
                tags[place : place + length] = [f"B-{kind}"] + [f"I-{kind}"] * (length - 1)
                break
        else:
            length = 1
        place += length
    return tags


def _forms(words: list[str], place: int) -> dict[str, Any]:
    """Returns features of a word and of its neighbours."""
    forms: dict[str, Any] = {}
    for shift in (-1, 0, 1):
        word = words[place + shift] if 0 <= place + shift < len(words) else ""
        forms |= {f"{shift} word": word.lower(), f"{shift} end": word[-3:].lower()}
        forms |= {
            f"{shift} capital": word[:1].isupper(),
            f"{shift} shape": re.sub("[A-Z]", "A", re.sub("[a-z]+", "a", word)),
        }
    return forms


def _cut(tags: Any, like: list[list[str]]) -> list[list[str]]:
    """Splits flat tags into sentences."""
    ends = np.cumsum([len(sentence) for sentence in like])[:-1]
    return [sentence.tolist() for sentence in np.split(np.asarray(tags), ends)]


def _tagged(split: str) -> tuple[list[list[str]], list[list[str]]]:
    texts, tags = _texts("tweets_entities", split, ("text", "tags"))
    return [text.split() for text in texts], [sentence.split() for sentence in tags]


def _texts(name: str, split: str, features: tuple[str, str]) -> tuple[list[str], list[str]]:
    columns = read_texts(Dataset(name, split).load(), features)
    return columns[features[0]], columns[features[1]]


def code() -> Iterator[str]:
    """Yields exact match of copied TypeScript, and the share that Node.js parses."""
    for split in ("validation", "test"):
        source, target = _texts("rxjs", split, ("source", "target"))
        exact = np.mean([copied == reference for copied, reference in zip(source, target)])
        shares = [accepted([text.replace(SPACE, " ") for text in texts]) for texts in (source, target)]
        yield f"code {split:10}  copied: exact match {exact:.3f}, accepted {shares[0]}; JavaScript itself {shares[1]}"


def completion() -> Iterator[str]:
    """Yields exact match and edit similarity of frequent lines of Python."""
    contexts, lines = _next_lines("train")
    after = [(key, line) for context, line in zip(contexts, lines) for key in _last_line(context)]
    followers: dict[str, Counter[str]] = {}
    for key, line in after:
        followers.setdefault(key, Counter())[line] += 1
    usual = Counter(lines).most_common(1)[0][0]
    for split in ("validation", "test"):
        contexts, references = _next_lines(split)
        guesses = {"most frequent line": [usual] * len(references), "line after the last one": []}
        for context in contexts:
            known = next((followers[key] for key in _last_line(context) if key in followers), None)
            guesses["line after the last one"].append(known.most_common(1)[0][0] if known else usual)
        for name, texts in guesses.items():
            scores = f"exact match {exact_match(texts, references):.4f}, {edit_similarity(texts, references):.3f}"
            yield f"completion {split:10}  {name:24} {scores}"


def _next_lines(split: str) -> tuple[list[str], list[str]]:
    columns = read_texts(NextLines(Dataset("python_functions", split)).load(), ("source", "target"))
    return columns["source"], columns["target"]


def _last_line(context: str) -> list[str]:
    """Returns the last line and its first word, the keys of a back-off."""
    line = context.splitlines()[-1].strip()
    return [line, f"{line.split()[0]} ..."]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    methods = {"captions": captions, "sentiment": sentiment, "summaries": summaries, "entities": entities}
    methods |= {"code": code, "completion": completion}
    parser.add_argument("data", choices=methods)
    for line in methods[parser.parse_args().data]():
        print(line, flush=True)


if __name__ == "__main__":
    main()
