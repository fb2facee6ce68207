"""Trivial baselines of recorded metrics: constants, copies of the input, forecasts.

  python -m benchmarks.trivial_baselines                                prints a line per recipe
  python -m benchmarks.trivial_baselines experiments/cnn/digits.py      for some recipes
  python -m benchmarks.trivial_baselines --write                        and replaces their rows of baselines.csv

Constants are fitted to the training split and scored on the test split, in the unit of the recipe's metric. Missing
data sets are prepared first. Takes seconds per recipe, without JAX.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from benchmarks.series_baselines import fit, windows
from jaxdl.config.experiment import build
from jaxdl.config.overrides import resolve
from jaxdl.config.recipes import load_recipe, repository_root
from jaxdl.data.source import Source, read_texts
from jaxdl.metrics.translation import METRICS
from jaxdl.runs.baselines import Baseline, read_baselines, write_baselines
from jaxdl.runs.ledger import read, summaries

_BATCH = 1000  # examples read at once
_QUANTILES = (0.1, 0.5, 0.9)  # of experiments/rnn/stocks.py
_DAYS = (20, 40, 60, 120, 250, 500, 1000)


class Score(NamedTuple):
    """Unit of the metric, score of a trivial predictor (None: not known), and the predictor."""

    unit: str
    value: float | None
    predictor: str


def columns(source: Source, *features: str) -> list[np.ndarray]:
    parts = [source.read(np.arange(start, min(start + _BATCH, len(source)))) for start in range(0, len(source), _BATCH)]
    return [np.concatenate([part[feature] for part in parts]) for feature in features]


def majority_class(data: Any) -> Score:
    (labels,), (truths,) = columns(data.train.load(), "label"), columns(data.test.load(), "label")
    return Score("", float(np.mean(truths == np.bincount(labels).argmax())), "most frequent class")


def nearest_text(data: Any) -> Score:
    """Scores the training image whose text and style have the nearest embedding, as one that shows its category."""
    train, train_labels = columns(data.train.load(), "embedding", "label")
    test, labels = columns(data.test.load(), "embedding", "label")
    distance = np.square(train).sum(1) - 2.0 * test @ train.T
    accuracy = float(np.mean(train_labels[distance.argmin(1)] == labels))
    return Score("share of the right category", accuracy, "training image of the nearest text")


def masked_token(data: Any) -> Score:
    (tokens,), (truths,) = columns(data.train.load(), "tokens"), columns(data.test.load(), "tokens")
    usual = np.bincount(tokens[tokens > 3]).argmax()
    return Score("of masked tokens", float(np.mean(truths[truths > 0] == usual)), "most frequent token")


def mean_image(data: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns the test images in 0..1 and the mean of the training images."""
    (images,), (truths,) = columns(data.train.load(), "image"), columns(data.test.load(), "image")
    return truths / 255, images.mean(0) / 255


def mean_image_mse(data: Any) -> Score:
    truths, mean = mean_image(data)
    return Score("of pixels in 0..1", float(np.mean(np.square(truths - mean))), "mean training image")


def mean_image_psnr(data: Any) -> Score:
    truths, mean = mean_image(data)
    errors = np.square(truths - mean).mean((1, 2, 3))
    return Score("dB", float(np.mean(-10 * np.log10(np.maximum(errors, 1e-10)))), "mean training image")


def independent_pixels(data: Any) -> Score:
    """Negative log-likelihood of Bernoulli pixels with the training means, expected over the binarization."""
    truths, mean = mean_image(data)
    mean = np.clip(mean, 1e-6, 1 - 1e-6)
    nats = -(truths * np.log(mean) + (1 - truths) * np.log(1 - mean)).sum((1, 2, 3))
    return Score("nats per image, negative ELBO", float(nats.mean()), "independent pixels")


def unigrams(data: Any) -> Score:
    """Cross-entropy of the frequencies of training tokens, with one more of each."""
    train, test = data.train.load(), data.test.load()
    (tokens,), (truths, context, characters) = (
        columns(train, "tokens"),
        columns(test, "tokens", "context", "characters"),
    )
    counts = np.bincount(tokens[:, 1:].ravel(), minlength=len(train.names["tokens"])) + 1.0
    scored = np.arange(truths.shape[1] - 1) >= context[:, None]
    nats = -np.log(counts / counts.sum())[truths[:, 1:]][scored].sum()
    return Score("", float(nats / characters.sum()), "token frequencies")


def linear_rmse(data: Any) -> Score:
    train, validation, test = (windows(part.load()) for part in (data.train, data.evals["validation"], data.test))
    error = fit(train, validation).forecast(test.history) - test.target
    return Score("", float(np.sqrt(np.mean(np.square(error)))), "DLinear by ridge regression")


def relative_mae(data: Any) -> Score:
    return Score("MAE / MAE of the baseline", 1.0, f"seasonal naive, {data.test.season} steps")


def rolling_quantiles(data: Any) -> Score:
    """Pinball loss of the last price times quantiles of the latest daily returns; their number is from validation."""

    def pinball(series: Any, days: int) -> float:
        history, target = columns(replace(series, context=days + 1).load(), "history", "target")
        prices, levels = history[..., 0], np.array(_QUANTILES)
        returns = np.quantile(prices[:, 1:] / prices[:, :-1], levels, axis=1).T
        error = target - prices[:, -1:] * returns
        return float(np.mean(np.maximum(levels * error, (levels - 1) * error)))

    days = min(_DAYS, key=lambda days: pinball(data.evals["validation"], days))
    return Score("US dollars", pinball(data.test, days), f"quantiles of the last {days} returns")


def _sides(dataset: Any, source: str, target: str) -> tuple[list[str], list[str]]:
    texts = read_texts(dataset.load(), (source, target))
    return texts[source], texts[target]


def copied_source(metric: str) -> Callable[[Any], Score]:
    def score(data: Any) -> Score:
        sources, references = _sides(data.test.corpus, data.test.source, data.test.target)
        return Score("", METRICS[metric](sources, references), "copy of the source")

    return score


def usual_target(data: Any) -> Score:
    corpus, feature = data.test.corpus, getattr(data.test, "target", "answer")
    feature = getattr(data.test, "answer", feature)
    (texts, references) = (
        read_texts(dataset.load(), (feature,))[feature]
        for dataset in (getattr(data.train, "examples", data.train).corpus, corpus)
    )
    usual = Counter(texts).most_common(1)[0][0]
    return Score("", METRICS["exact_match"]([usual] * len(references), references), "most frequent answer")


def constant(value: float | None, predictor: str, unit: str = "") -> Callable[[Any], Score]:
    return lambda data: Score(unit, value, predictor)


def recorded(metric: str, predictor: str, unit: str) -> Callable[[Any], Score]:
    """Returns the newest record of another metric of the Fashion-MNIST recipes, which is equal in all runs."""
    rows = [row for row in read(repository_root()) if row.metric == metric and "fashion" in row.recipe]
    return lambda data: Score(unit, rows[-1].value, predictor)


def corrupted(recipe: str) -> Callable[[Any], Score]:
    wanted = (recipe, "test/psnr_corrupted", "")
    rows = [row for row in read(repository_root()) if (row.recipe, row.metric, row.overrides) == wanted]
    return lambda data: Score("dB", rows[-1].value, "corrupted image")


_FID = recorded("test/fid_floor", "real training images", "features of the Fashion-MNIST classifier")
RULES: dict[str, Callable[[Any], Score]] = {
    "autoencoder/credit_anomaly": constant(0.5, "random score"),
    "autoencoder/fashion_autoencoder": mean_image_mse,
    "autoencoder/fashion_hierarchical": independent_pixels,
    "autoencoder/fashion_restoration": corrupted("experiments/autoencoder/fashion_restoration.py"),
    "autoencoder/fashion_vae": independent_pixels,
    "autoencoder/fashion_vqvae": mean_image_psnr,
    "autoencoder/shuttle_anomaly": constant(0.5, "random score"),
    "cnn/digits": majority_class,
    "cnn/emoji_categories": majority_class,
    "cnn/faces": majority_class,
    "cnn/fashion_mnist": majority_class,
    "cnn/nuclei": constant(0.0, "no instances", "TP / (TP + FP + FN) at IoU 0.5"),
    "cnn/scenes_detection": constant(0.0, "no boxes", "AP at IoU 0.5"),
    "cnn/scenes_segmentation": constant(None, ""),
    "diffusion/emoji": constant(None, "", "weighted denoising error"),
    "diffusion/fashion_ddpm": _FID,
    "diffusion/fashion_edm": _FID,
    "diffusion/fashion_few_steps": _FID,
    "diffusion/fashion_flow_dit": _FID,
    "diffusion/text_to_emoji": nearest_text,
    "gan/emoji_cyclegan": constant(1.0, "input unchanged", "LPIPS / LPIPS of the baseline"),
    "gan/fashion_conditional": _FID,
    "gan/fashion_dcgan": _FID,
    "rnn/adding_problem": constant(1 / 6, "constant 1"),
    "rnn/austen_chars": unigrams,
    "rnn/captions": constant(None, "", "0 to 100"),
    "rnn/digit_addition": usual_target,
    "rnn/electricity": relative_mae,
    "rnn/sales": relative_mae,
    "rnn/sentiment": majority_class,
    "rnn/speech": constant(1.0, "empty transcript", "errors per character"),
    "rnn/stocks": rolling_quantiles,
    "rnn/sunspots": linear_rmse,
    "rnn/translate_en_de": copied_source("bleu"),
    "transformer/austen_bert": masked_token,
    "transformer/austen_bpe": unigrams,
    "transformer/austen_gpt": unigrams,
    "transformer/chat": unigrams,
    "transformer/code_completion": usual_target,
    "transformer/code_ts_to_js": copied_source("exact_match"),
    "transformer/entities": constant(0.0, "no entities"),
    "transformer/fashion_vit": majority_class,
    "transformer/questions": usual_target,
    "transformer/sentiment": majority_class,
    "transformer/summarize": copied_source("rouge_l"),
    "transformer/translate_en_de": copied_source("bleu"),
}
UNITS = {"bleu": "0 to 100", "rouge_l": "0 to 100", "rmse": "sunspots"}


def computed(names: Sequence[str]) -> Iterator[Baseline]:
    """Yields the baselines of recipes with results; of all without names."""
    for name, summary in summaries(repository_root()).items():
        key = name.removeprefix("experiments/").removesuffix(".py")
        if key in RULES and (not names or name in names):
            score = RULES[key](build(resolve(load_recipe(name))).data)
            unit = score.unit or UNITS.get(summary.metric.split("/")[-1], "")
            yield Baseline(name, summary.metric, unit, score.value, score.predictor)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", help="such as experiments/cnn/digits.py; default: all")
    parser.add_argument("--write", action="store_true", help="replace the rows of experiments/baselines.csv")
    arguments = parser.parse_args()
    baselines = {}
    for baseline in computed(arguments.recipes):
        print(f"{baseline.recipe:50} {baseline.metric:25} {baseline}  {baseline.unit}", flush=True)
        baselines[baseline.recipe] = baseline
    if arguments.write:
        write_baselines(repository_root(), (read_baselines(repository_root()) | baselines).values())


if __name__ == "__main__":
    main()
