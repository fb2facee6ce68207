"""Anomaly-detection baselines on the splits and features of the autoencoder recipes.

  python -m benchmarks.anomaly_baselines                       all three recipes
  python -m benchmarks.anomaly_baselines shuttle_anomaly       some of them

shuttle_anomaly, credit_anomaly: isolation forest (Liu, Ting and Zhou, 2008), PCA reconstruction error and one-class SVM
(Schölkopf et al., 2001), all from scikit-learn. They are fitted to the training rows and features of the recipe's
network. Their threshold is the recipe's quantile of the scores of its held-out rows. For each method the setting with
the best validation AUROC is scored; the isolation forest also with the settings of its paper. The SVM uses 5,000
training rows.

fashion_autoencoder: PCA with as many components as the recipe's code has dimensions.

Prints one line per method and split. Missing data sets are prepared first.
"""

import argparse
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxdl.data.source import Source

ANOMALY_RECIPES = ("shuttle_anomaly", "credit_anomaly")
RECIPES = (*ANOMALY_RECIPES, "fashion_autoencoder")
SUPPORT_ROWS = 5000

Scores = Callable[[np.ndarray], np.ndarray]  # features [rows, n] -> anomaly scores [rows]


class Rows(NamedTuple):
    """Rows of a split: `features` [rows, n] and `label` [rows], 0 for normal."""

    features: np.ndarray
    label: np.ndarray


def anomaly_baselines(
    train: Rows, held: Rows, splits: Mapping[str, Rows], quantile: float, seed: int = 0
) -> Iterator[str]:
    """Yields one line per method and split, `validation` first.

    Args:
      train: Normal rows for fitting.
      held: Normal rows for the threshold.
      splits: {"validation": rows, ...}. The validation rows select the settings of a method.
      quantile: Quantile of the scores of `held` that is the threshold.
    """
    for method, fits in methods(train.features.shape[1], seed).items():
        fitted = {setting: fit(train.features) for setting, fit in fits.items()}
        setting = max(fitted, key=lambda setting: auroc(fitted[setting], splits["validation"]))
        threshold = np.quantile(fitted[setting](held.features), quantile)
        for split, rows in splits.items():
            figures = scored(fitted[setting](rows.features), rows.label, threshold)
            yield f"{split:10}  {method:32}  {setting:28}  {figures}"


def methods(features: int, seed: int) -> dict[str, dict[str, Callable[[np.ndarray], Scores]]]:
    """Returns {method: {setting: function that fits it}}."""
    sizes = [(trees, rows) for trees in (100, 300) for rows in (256, 1024, 4096)]
    return {
        "isolation forest, as published": {"100 trees of 256 rows": functools.partial(forest, 100, 256, seed)},
        "isolation forest": {
            f"{trees} trees of {rows} rows": functools.partial(forest, trees, rows, seed) for trees, rows in sizes
        },
        "principal components": {
            f"{count} of {features}": functools.partial(components, count) for count in range(1, features)
        },
        "one-class SVM": {
            f"nu {nu:g}, gamma {gamma:g}": functools.partial(support, nu, gamma, seed)
            for nu in (0.01, 0.1)
            for gamma in (0.1 / features, 1 / features, 10 / features)
        },
    }


def forest(trees: int, rows: int, seed: int, train: np.ndarray) -> Scores:
    from sklearn.ensemble import IsolationForest

    samples: Any = min(rows, len(train))
    model = IsolationForest(n_estimators=trees, max_samples=samples, random_state=seed).fit(train)
    return lambda features: -model.score_samples(features)


def components(count: int, train: np.ndarray) -> Scores:
    """Fits PCA with `count` components; the score is the MSE of the reconstruction."""
    from sklearn.decomposition import PCA

    model = PCA(count, svd_solver="covariance_eigh").fit(train)
    return lambda x: np.square(model.inverse_transform(model.transform(x)) - x).mean(1)


def support(nu: float, gamma: float, seed: int, train: np.ndarray) -> Scores:
    from sklearn.svm import OneClassSVM

    chosen = np.random.default_rng(seed).permutation(len(train))[:SUPPORT_ROWS]
    model = OneClassSVM(nu=nu, gamma=gamma).fit(train[chosen])  # type: ignore
    return lambda features: -model.decision_function(features)


def auroc(scores: Scores, rows: Rows) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(rows.label, scores(rows.features)))


def scored(scores: np.ndarray, label: np.ndarray, threshold: float) -> str:
    """Returns the task's metrics as a line of text."""
    from jaxdl.tasks.anomaly_detection import detection_metrics

    metrics = detection_metrics(scores, label > 0, threshold)
    names = ("auroc", "average_precision", "precision", "recall", "false_alarms")
    return "  ".join(f"{name} {metrics[name]:.4f}" for name in names)


def parted(source: Source, calibration: float) -> tuple[Rows, Rows]:
    """Splits the training rows into those for the network and those held out for the threshold."""
    from jaxdl.tasks.anomaly_detection import held_out

    rows = read(source)
    held = np.asarray(held_out(np.arange(len(source)), calibration))  # type: ignore[arg-type]
    return Rows(rows.features[~held], rows.label[~held]), Rows(rows.features[held], rows.label[held])


def read(source: Source) -> Rows:
    batch = source.read(np.arange(len(source)))
    return Rows(batch["features"].astype(np.float64), batch["label"])


def image_baselines(train: np.ndarray, splits: Mapping[str, np.ndarray], counts: Sequence[int]) -> Iterator[str]:
    """Yields one line per split and number of components for images.

    Args:
      train: uint8 [n, height, width, channels].
    """
    from sklearn.decomposition import PCA

    model = PCA(max(counts), svd_solver="covariance_eigh").fit(flat(train))
    for split, images in splits.items():
        pixels = flat(images)
        codes = model.transform(pixels)
        for count in counts:
            error = codes[:, :count] @ model.components_[:count] + model.mean_ - pixels  # type: ignore
            squares = np.square(error).mean(1)
            figures = (
                f"mse {squares.mean():.5f}  mae {np.abs(error).mean():.5f}  psnr {-10 * np.log10(squares).mean():.3f}"
            )
            yield f"{split:10}  {f'{count} principal components':32}  {figures}"


def flat(images: np.ndarray) -> np.ndarray:
    return (images.reshape(len(images), -1) / np.float32(255)).astype(np.float32)


def lines(name: str) -> Iterator[str]:
    """Yields the lines of one recipe."""
    from jaxdl.config.experiment import build
    from jaxdl.config.recipes import load_recipe

    config = load_recipe(f"experiments/autoencoder/{name}.py").module.experiment.as_buildable()
    data: Any = build(config).data
    splits = {"validation": data.evals["validation"].load(), "test": data.test.load()}
    if name in ANOMALY_RECIPES:
        train, held = parted(data.train.load(), config.task.calibration)
        rows = {split: read(source) for split, source in splits.items()}
        yield from anomaly_baselines(train, held, rows, config.task.quantile, config.seed)
        return
    images = {split: source.read(np.arange(len(source)))["image"] for split, source in splits.items()}
    source = data.train.load()
    yield from image_baselines(source.read(np.arange(len(source)))["image"], images, (config.task.model.code,))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", help=", ".join(RECIPES))
    for name in parser.parse_args().recipes or RECIPES:
        for line in lines(name):
            print(f"{name:20}  {line}", flush=True)


if __name__ == "__main__":
    main()
