"""Character n-grams with interpolated modified Kneser-Ney smoothing, a text baseline.

  python -m benchmarks.kneser_ney                                          Jane Austen, orders 1 to 6
  python -m benchmarks.kneser_ney --config=RECIPE --set=NAME=VALUE --order=4   any recipe that trains on windows of text

The model is `jaxdl.decoding.ngrams`. Counts and scores the tokens of the recipe's own tokenizer (by default
characters), and prints nats and bits per token of each of its evaluations and its test split.
"""

import argparse
import time
from collections.abc import Iterable, Sequence

import numpy as np

from jaxdl.config import resolve
from jaxdl.config.experiment import build
from jaxdl.data.source import read_texts
from jaxdl.data.text.windows import Windows
from jaxdl.decoding.ngrams import KneserNey
from jaxdl.errors import UserError


def score(model: KneserNey, texts: Iterable[np.ndarray]) -> float:
    """Computes nats per token over all tokens of each text but the first."""
    values = np.concatenate([model.log_probabilities(text)[1:] for text in texts])
    if not len(values):
        raise UserError("there is no text to score; give one of two characters or more")
    return float(-values.mean())


def load(name: str, settings: Sequence[str]) -> tuple[dict[str, np.ndarray], int]:
    """Reads a recipe's text as token ids by split, int32 [tokens], and the vocabulary size.

    Texts are concatenated as `Windows` does, so all but the first token of a split are scored in both.

    Raises:
      UserError: The recipe does not exist, or its data are not windows of text.
    """
    data = build(resolve(name, settings)).data
    loaded = {"train": data.train, **data.evals, **({"test": data.test} if data.test is not None else {})}
    windows = {split: source for split, source in loaded.items() if isinstance(source, Windows)}
    if windows.keys() != loaded.keys():
        raise UserError(f"{name} does not learn from windows of text; name a recipe whose data are Windows(...)")
    tokenizer = windows["train"].vocabulary.load()
    texts = {
        split: read_texts(source.corpus.load(), (source.feature,))[source.feature] for split, source in windows.items()
    }
    return {split: np.concatenate(tokenizer.encode_all(parts)) for split, parts in texts.items()}, len(tokenizer)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--config", default="experiments/rnn/austen_chars.py", help="recipe")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="overrides of the recipe")
    parser.add_argument("--order", type=int, default=6, help="highest order; all orders up to it are scored")
    arguments = parser.parse_args()
    try:
        texts, size = load(arguments.config, arguments.set)
        for order in range(1, arguments.order + 1):
            start = time.perf_counter()
            model = KneserNey.fit([texts["train"]], order, size)
            seconds = time.perf_counter() - start
            scores = {split: score(model, [text]) for split, text in texts.items() if split != "train"}
            figures = "".join(
                f"  {split} {nats:.4f} nats {nats / np.log(2):.4f} bits" for split, nats in scores.items()
            )
            print(f"order {order}{figures}  ({len(model.orders[-1].grams):,} n-grams, {seconds:.1f} s)", flush=True)
    except UserError as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()
