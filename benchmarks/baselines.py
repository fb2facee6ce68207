"""Computer-vision baselines without a network on the splits of the recipes.

  python -m benchmarks.baselines nuclei    thresholds and connected components
  python -m benchmarks.baselines faces     majority class, and logistic regression on pixels, 5 folds
  python -m benchmarks.baselines scenes    all background; and boxes of the most frequent sizes on a grid
  python -m benchmarks.baselines brain_tissue    thresholds, Gaussian mixture, and logistic regression on pixels
  python -m benchmarks.baselines glyphs    dilation to the ink of the other font, and convolution fitted on pairs
  python -m benchmarks.baselines moving_digits    copy of the last frame, and its motion by phase correlation

Prints one line per method. Missing data sets are prepared first. Takes a few seconds each, without JAX.
"""

import argparse
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from jaxdl.data.dataset import Dataset
from jaxdl.data.image.boxes_and_masks import Relabel, RelabelMask
from jaxdl.data.image.transforms import apply
from jaxdl.data.random import Draws
from jaxdl.data.source import Source
from jaxdl.data.splits import fold
from jaxdl.metrics.segmentation import class_dice, confusion_matrix, foreground_dice, matches, overlaps

FOLDS = 5
SMALLEST = 20  # pixels: smaller components are not nuclei, as in the data set
SMOOTHING = 1.0  # pixels: std of the Gaussian before the threshold
BLACK = 10  # pixels: backgrounds have black corners, faces do not
PIXELS = 100_000  # that brain tissue is fitted on
GLYPHS = 400  # that the convolution is fitted on
BOXES = 100  # boxes per image, the maximum of the COCO metric


def nuclei() -> Iterator[str]:
    """Yields scores of Otsu's threshold per image and of the best one on the training image.

    Raw: every component is a nucleus. Smoothed: components under 20 pixels are dropped.
    """
    from scipy import ndimage

    parts = {split: Dataset("nuclei", split).load().read(np.zeros(1, int)) for split in ("train", "validation", "test")}
    for name, sigma, smallest in (("raw", 0.0, 1), ("smoothed", SMOOTHING, SMALLEST)):
        grey = {
            split: ndimage.gaussian_filter(part["image"][0, ..., 0].astype(np.float32), sigma)
            for split, part in parts.items()
        }
        truth = parts["train"]["instances"]
        fitted = max(range(1, 256), key=lambda value: foreground_dice(truth, [grey["train"] > value]))
        for split in ("validation", "test"):
            for method, threshold in (("Otsu", otsu(grey[split])), ("fitted", fitted)):
                predicted = components(grey[split] > threshold, smallest)
                scores = scored(parts[split]["instances"][0], predicted)
                yield f"nuclei {split:10}  {name:8}  {method:6} threshold {threshold:5.1f}  {scores}"


def otsu(image: np.ndarray, bins: int = 256) -> float:
    """Returns the threshold that maximizes the between-class variance (Otsu, 1979)."""
    counts, edges = np.histogram(image, bins)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1]
    above = counts.sum() - below
    sums = np.cumsum(counts * centres)
    means = sums[:-1] / np.maximum(below, 1), (sums[-1] - sums[:-1]) / np.maximum(above, 1)
    return float(edges[1:-1][np.argmax(below * above * (means[0] - means[1]) ** 2)])


def components(mask: np.ndarray, smallest: int) -> np.ndarray:
    """Labels the 4-connected components of a mask [height, width]; small ones are 0."""
    from scipy import ndimage

    numbered: Any = ndimage.label(mask)
    labels = numbered[0]
    return np.where(np.bincount(labels.ravel())[labels] >= smallest, labels, 0)


def scored(truth: np.ndarray, predicted: np.ndarray) -> str:
    """Formats Dice and AP at IoU 0.5 of instances [height, width], with counts."""
    pairs = overlaps(truth, predicted)
    hits = matches(pairs, 50)
    spurious, missed = len(pairs.predicted) - hits, len(pairs.true) - hits
    precision = f"AP@0.5 {hits / (hits + spurious + missed):.3f} ({hits} hit, {spurious} spurious, {missed} missed)"
    return f"Dice {foreground_dice([truth], [predicted]):.3f}  {precision}"


def faces() -> Iterator[str]:
    """Yields mean accuracy over the test parts of the folds, and of a black-corner rule."""
    from sklearn.dummy import DummyClassifier
    from sklearn.linear_model import LogisticRegression

    methods: dict[str, Callable] = {
        "majority class": lambda: DummyClassifier(strategy="most_frequent"),
        "logistic regression on pixels": lambda: LogisticRegression(max_iter=2000),
    }
    folds = [[_pixels(split) for split in fold("train", number, FOLDS)] for number in range(FOLDS)]
    for name, make in methods.items():
        scores = [make().fit(*train).score(*test) for train, test in folds]
        text = ", ".join(f"{score:.3f}" for score in scores)
        yield f"faces {FOLDS} folds  {name:30} accuracy {np.mean(scores):.3f} +- {np.std(scores, ddof=1):.3f}  ({text})"
    image, label = _pixels("train")
    right = ((image == 0).sum(1) < BLACK) == label
    yield f"faces all      {f'under {BLACK} black pixels':30} accuracy {np.mean(right):.3f}"


def _pixels(split: str) -> tuple[np.ndarray, np.ndarray]:
    batch = _whole(Dataset("lfw_faces", split).load())
    return batch["image"].reshape(len(batch["image"]), -1) / 255, batch["label"]


def scenes() -> Iterator[str]:
    """Yields scores of class-agnostic semantic segmentation and detection on the test split."""
    train, test = (Dataset("scenes", split).load() for split in ("train", "test"))
    categories = len(test.names["box_label"])
    joined = (Relabel((0,) * categories), RelabelMask((0,) + (1,) * categories))
    examples, truth = (apply(joined, _whole(source), Draws(0, np.arange(len(source)))) for source in (train, test))
    yield f"scenes test  all background  mIoU {background_miou(truth['mask'], 2):.3f}"
    yield f"scenes test  usual boxes everywhere  {usual_boxes(examples, truth, 1)}"


def background_miou(mask: np.ndarray, classes: int) -> float:
    """Computes the mean IoU of predicting background; 255 in `mask` is unlabelled."""
    counts = np.bincount(mask[mask != 255].ravel(), minlength=classes)
    return float(counts[0] / counts.sum() / (counts > 0).sum())


def usual_boxes(train: dict[str, np.ndarray], test: dict[str, np.ndarray], classes: int, sizes: int = 3) -> str:
    """Scores the most frequent box sizes of `train`, on a grid, with its most frequent class.

    Every image of `test` gets the same boxes, at most 100. Sizes are binned in steps of 8 pixels, with as many boxes
    per size as tile the image evenly. The score of a box is the frequency of its size.
    """
    from jaxdl.metrics.detection import average_precision

    real = train["box_weight"] > 0
    boxes, label = train["boxes"][real], np.bincount(train["box_label"][real]).argmax()
    rounded = np.maximum(np.rint((boxes[:, 2:] - boxes[:, :2]) / 8) * 8, 8)
    kinds, counts = np.unique(rounded, axis=0, return_counts=True)
    order = np.argsort(-counts)[:sizes]
    side = int(np.sqrt(BOXES // len(order)))
    height, width = test["image"].shape[1:3]
    grids = [grid(height, width, kind[0], kind[1], side) for kind in kinds[order]]
    scores = np.repeat(counts[order] / counts.sum(), side * side)
    images = len(test["image"])
    records = {name: test[name] for name in ("boxes", "box_label", "box_weight")} | {
        "predicted_boxes": np.tile(np.concatenate(grids), (images, 1, 1)).astype(np.float32),
        "predicted_labels": np.full((images, len(scores)), label, np.int32),
        "predicted_scores": np.tile(scores, (images, 1)).astype(np.float32),
    }
    return "  ".join(f"{name} {value:.3f}" for name, value in average_precision(records, classes).items())


def grid(height: int, width: int, tall: float, wide: float, side: int) -> np.ndarray:
    """Returns side x side evenly spaced boxes (top, left, bottom, right) of one size."""
    top, left = np.meshgrid(np.linspace(0, height - tall, side), np.linspace(0, width - wide, side), indexing="ij")
    return np.stack([top, left, top + tall, left + wide], axis=-1).reshape(-1, 4)


def brain_tissue() -> Iterator[str]:
    """Yields Dice of grey and white matter by methods fitted on pixels of the training slices.

    Pixels of intensity 0 are background. Two thresholds maximize the mean Dice. A Gaussian mixture of intensities is
    fitted without labels. Logistic regression is quadratic in the intensity, alone or with the intensity smoothed with
    sigma = 1, 2 and 4 pixels and the position.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.mixture import GaussianMixture
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    parts = {split: _whole(Dataset("mni152", split).load()) for split in ("train", "validation", "test")}
    inside = {split: part["image"][..., 0] > 0 for split, part in parts.items()}
    features = {split: tissue_features(part["image"], part["slice"])[inside[split]] for split, part in parts.items()}
    sample = np.random.default_rng(0).permutation(int(inside["train"].sum()))[:PIXELS]
    pixels, labels = features["train"][sample], parts["train"]["mask"][inside["train"]][sample]

    pairs = [(low, high) for low in np.arange(0.2, 0.8, 0.02) for high in np.arange(0.6, 1.0, 0.01) if low < high]
    low, high = max(pairs, key=lambda pair: tissue_dice(labels, np.digitize(pixels[:, 0], pair)).mean())
    mixture = GaussianMixture(3, random_state=0).fit(pixels[:, :1])
    order = np.argsort(np.argsort(np.asarray(mixture.means_)[:, 0]))
    methods: dict[str, Callable] = {
        f"thresholds {low:.2f} and {high:.2f}": lambda pixels: np.digitize(pixels[:, 0], (low, high)),
        "Gaussian mixture": lambda pixels: order[mixture.predict(pixels[:, :1])],
    }
    for name, columns in (("intensity", 1), ("intensities and position", pixels.shape[1])):
        model = make_pipeline(PolynomialFeatures(2), StandardScaler(), LogisticRegression(max_iter=500))
        model.fit(pixels[:, :columns], labels)
        methods[f"logistic regression, {name}"] = lambda pixels, model=model, columns=columns: model.predict(
            pixels[:, :columns]
        )
    for split in ("validation", "test"):
        for name, predict in methods.items():
            predicted = np.zeros_like(parts[split]["mask"])
            predicted[inside[split]] = predict(features[split])
            grey, white = tissue_dice(parts[split]["mask"], predicted)
            scores = f"Dice {(grey + white) / 2:.4f} (grey {grey:.4f}, white {white:.4f})"
            yield f"brain_tissue {split:10}  {name:45} {scores}"


def tissue_features(image: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Returns intensities at four scales, and row, distance from the middle and height in -1..1, [n, h, w, 7].

    Args:
      image: uint8 [n, h, w, 1].
      level: Height of each slice in mm, [n].
    """
    from scipy import ndimage

    grey = image[..., 0].astype(np.float32) / 255
    smoothed = [ndimage.gaussian_filter(grey, (0, sigma, sigma)) for sigma in (1, 2, 4)]
    rows, columns = np.meshgrid(*(np.linspace(-1, 1, side) for side in grey.shape[1:]), indexing="ij")
    position = [np.broadcast_to(value, grey.shape) for value in (rows, np.abs(columns), level[:, None, None] / 75 - 1)]
    return np.stack([grey, *smoothed, *position], axis=-1)


def tissue_dice(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Computes Dice of grey (1) and white matter (2)."""
    return class_dice(confusion_matrix(truth, predicted, 3))[1:]


def glyphs() -> Iterator[str]:
    """Yields MAE of translations between the fonts of gan/glyphs_cyclegan, divided by that of the unchanged input.

    The first method smooths, multiplies and clips the ink so that its mean is that of the other font, with the sigma
    that is best on the training pairs. The second is a 9x9 convolution, by least squares on pairs.
    """
    parts = {split: _whole(Dataset("glyphs", split).load()) for split in ("train", "validation", "test")}
    ink = {
        split: [1 - part[style][..., 0].astype(np.float32) / 255 for style in ("sans", "serif_bold")]
        for split, part in parts.items()
    }
    methods: dict[str, list[Callable]] = {"dilation": [], "9x9 convolution": []}
    for source, target in (ink["train"], ink["train"][::-1]):
        candidates = [dilation(source, float(target.mean()), sigma) for sigma in np.arange(0.2, 1.0, 0.1)]
        errors = [np.abs(candidate(source) - target).mean() for candidate in candidates]
        methods["dilation"].append(candidates[int(np.argmin(errors))])
        kernel = np.linalg.lstsq(neighbours(source[:GLYPHS]), target[:GLYPHS].ravel())[0]
        methods["9x9 convolution"].append(
            lambda ink, kernel=kernel: np.clip(neighbours(ink) @ kernel, 0, 1).reshape(ink.shape)
        )
    for split in ("validation", "test"):
        a, b = ink[split]
        identity = np.abs(a - b).mean()
        for name, (there, back) in methods.items():
            ab, ba = np.abs(there(a) - b).mean() / identity, np.abs(back(b) - a).mean() / identity
            yield f"glyphs {split:10}  {name:16} relative MAE {(ab + ba) / 2:.3f} (to serif {ab:.3f}, to sans {ba:.3f})"


def dilation(ink: np.ndarray, mean: float, sigma: float) -> Callable[[np.ndarray], np.ndarray]:
    """Returns a Gaussian filter with a gain for which the clipped ink in [n, h, w] has the given mean."""
    from scipy import ndimage, optimize

    def apply(ink: np.ndarray, gain: float) -> np.ndarray:
        return np.clip(gain * ndimage.gaussian_filter(ink, (0, sigma, sigma)), 0, 1)

    gain: Any = optimize.brentq(lambda gain: float(apply(ink, gain).mean()) - mean, 0.01, 100.0)
    return lambda ink: apply(ink, gain)


def neighbours(ink: np.ndarray, radius: int = 4) -> np.ndarray:
    """Returns the pixels around each pixel, [n * h * w, (2 radius + 1) ** 2]."""
    size = 2 * radius + 1
    padded = np.pad(ink, ((0, 0), (radius, radius), (radius, radius)))
    return np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(1, 2)).reshape(-1, size * size)


def moving_digits() -> Iterator[str]:
    """Yields SSIM of copying the last frame, and of shifting it by the motion found by phase correlation."""
    from jaxdl.data.video.moving_digits import MovingDigits
    from jaxdl.metrics.restoration import ssim_of_frames

    batch = _whole(MovingDigits(Dataset("mnist_5k", "test"), videos=500).load())
    frames, future = batch["frames"], batch["future"]
    horizon = future.shape[1]
    methods = {
        "copy of the last frame": np.repeat(frames[:, -1:], horizon, axis=1),
        "phase correlation": shifted(frames, horizon),
    }
    for name, predicted in methods.items():
        values = ssim_of_frames(future, predicted).mean(0)
        yield f"moving_digits test  {name:24} SSIM {values.mean():.3f}, of the last frame {values[-1]:.3f}"


def shifted(frames: np.ndarray, horizon: int) -> np.ndarray:
    """Predicts frames by shifting the last one cyclically at the velocity between the last two.

    The velocity is the peak of the phase correlation (Kuglin and Hines, 1975).

    Args:
      frames: uint8 [videos, time, height, width, 1].
      horizon: Number of frames to predict.
    """
    predicted = []
    for before, last in frames[:, -2:, ..., 0]:
        cross = np.fft.fft2(last) * np.conj(np.fft.fft2(before))
        peak = np.fft.ifft2(cross / np.maximum(np.abs(cross), 1e-9)).real
        velocity = np.array(np.unravel_index(peak.argmax(), peak.shape))
        predicted.append([np.roll(last, step * velocity, (0, 1)) for step in range(1, horizon + 1)])
    return np.array(predicted)[..., None]


def _whole(source: Source) -> dict[str, np.ndarray]:
    return source.read(np.arange(len(source)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    methods = {
        "nuclei": nuclei,
        "faces": faces,
        "scenes": scenes,
        "brain_tissue": brain_tissue,
        "glyphs": glyphs,
        "moving_digits": moving_digits,
    }
    parser.add_argument("data", choices=methods)
    for line in methods[parser.parse_args().data]():
        print(line, flush=True)


if __name__ == "__main__":
    main()
