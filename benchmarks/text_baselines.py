"""What methods without a recurrent network reach on the splits that the recipes use.

  python -m benchmarks.text_baselines captions    the caption of the most similar training picture; the usual caption
  python -m benchmarks.text_baselines sentiment   logistic regression on weighted words and pairs of words

Prints a line a method and split. Data sets that are not on this machine are prepared first. No JAX.
"""

import argparse
from collections import Counter
from collections.abc import Iterator

import numpy as np

from jaxdl.data.columns import read_columns, read_texts
from jaxdl.data.dataset import Dataset
from jaxdl.metrics.translation import bleu, chrf

SIDES = (8, 16, 32)  # pixels that pictures are shrunk to before they are compared


def captions() -> Iterator[str]:
    """BLEU and chrF of the nearest neighbour's caption, for each size of the pictures, and of the commonest caption."""
    train, *others = (_pictures(split) for split in ("train", "validation", "test"))
    usual = Counter(train[1]).most_common(1)[0][0]
    for split, (pictures, known) in zip(("validation", "test"), others):
        yield f"captions {split:10}  usual caption        {_scored([usual] * len(known), known)}"
        for side in SIDES:
            found = nearest(_shrunk(train[0], side), _shrunk(pictures, side))
            borrowed = [train[1][number] for number in found]
            yield f"captions {split:10}  nearest at {side:2} x {side:2}   {_scored(borrowed, known)}"


def nearest(known: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Which row of `known` [rows, features] is nearest to each row of `asked`, by squared distance."""
    distances = (asked**2).sum(1)[:, None] - 2 * asked @ known.T + (known**2).sum(1)
    return distances.argmin(1)


def _pictures(split: str) -> tuple[np.ndarray, list[str]]:
    source = Dataset("captions", split).load()
    return source.read(np.arange(len(source)))["image"], read_texts(source, ("caption",))["caption"]


def _shrunk(pictures: np.ndarray, side: int) -> np.ndarray:
    """uint8 [images, size, size, 3] -> float64 [images, side * side * 3], means of squares of pixels."""
    images, size = pictures.shape[:2]
    cells = pictures.reshape(images, side, size // side, side, size // side, 3)
    return cells.mean((2, 4)).reshape(images, -1) / 255


def _scored(texts: list[str], references: list[str]) -> str:
    return f"BLEU {bleu(texts, references):6.2f}  chrF {chrf(texts, references):6.2f}"


def sentiment() -> Iterator[str]:
    """Accuracy of logistic regression on TF-IDF of words and pairs of words; its strength is chosen on validation."""
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    methods = {"captions": captions, "sentiment": sentiment}
    parser.add_argument("data", choices=methods)
    for line in methods[parser.parse_args().data]():
        print(line, flush=True)


if __name__ == "__main__":
    main()
