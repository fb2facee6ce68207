"""Image-restoration baselines of scikit-image on the corrupted images of the recipes.

  python -m benchmarks.restoration_baselines                      both tasks of the recipe; needs the peer extra
  python -m benchmarks.restoration_baselines denoise --run=RUN    one task, and the network of that run

Denoising: Gaussian filter, bilateral filter, wavelet shrinkage, total variation (Chambolle 2004) and non-local means
(Buades, Coll and Morel 2005), with the true noise std where they accept one. Inpainting: biharmonic equation; and fills
with a constant, with the image's mean over observed pixels, with the training mean, and with the training mean image.

The corruption, its seed and its draws are those of the recipe's (or the run's) evaluation. Settings are selected by the
mean PSNR on the first 500 validation images. Scores are on those and on the first 2,000 test images, as the recipe's
`psnr`, `ssim` and `psnr_missing`, which use all 10,000.

Noise clipped to 0..255 brightens black and darkens white on average, and a filter cannot undo that. So each method has
a second line, "unbiased": its output is mapped through the inverse of the mean under clipped noise (a lookup table).
Settings are selected separately for both.
"""

import argparse
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.autoencoder.fashion_restoration import sweep
from jaxdl.config.experiment import build
from jaxdl.config.serialize import from_json
from jaxdl.metrics.restoration import psnr, ssim

RECIPE = "experiments/autoencoder/fashion_restoration.py"
TASKS: dict[str, dict[str, Any]] = dict(zip(("denoise", "inpaint"), sweep()))
TUNED, SCORED = 500, 2000
CHUNK = 500


class CorruptedImages(NamedTuple):
    """Images of a split.

    Attributes:
      clean: uint8 [n, h, w, c].
      given: Corrupted images in 0..255, float32 [n, h, w, c].
      missing: Pixels without a value, bool [n, h, w].
    """

    clean: np.ndarray
    given: np.ndarray
    missing: np.ndarray | None


class Method(NamedTuple):
    """Restoration method and its candidate settings.

    `restore(image, missing, **settings)` takes float [h, w] or [h, w, c] in [0, 1], and missing bool [h, w].
    """

    name: str
    restore: Callable[..., np.ndarray]
    settings: Sequence[Mapping[str, Any]] = ({},)


def grid(**values: Sequence[Any]) -> list[dict[str, Any]]:
    """Returns all combinations."""
    return [dict(zip(values, chosen)) for chosen in itertools.product(*values.values())]


def denoising(sigma: float) -> list[Method]:
    """Returns the methods for noise of std `sigma`, in [0, 1]."""
    from skimage import filters, restoration

    def plain(function: Callable[..., np.ndarray], **fixed: Any) -> Callable[..., np.ndarray]:
        def restore(image: np.ndarray, missing: None, **settings: Any) -> np.ndarray:
            return function(image, channel_axis=-1 if image.ndim == 3 else None, **fixed, **settings)

        return restore

    def means(image: np.ndarray, missing: None, h: float, **settings: Any) -> np.ndarray:
        function: Callable[..., np.ndarray] = restoration.denoise_nl_means
        axis = -1 if image.ndim == 3 else None
        return function(image, h=h * sigma, sigma=sigma, fast_mode=True, channel_axis=axis, **settings)

    colors = grid(sigma_color=(0.08, 0.15, 0.3, 0.6), sigma_spatial=(0.7, 1.0, 1.5))
    shrinkage = grid(method=("BayesShrink", "VisuShrink"), mode=("soft", "hard"), wavelet=("db1", "sym4"))
    weights = grid(weight=tuple(factor * sigma for factor in (0.25, 0.4, 0.55, 0.75, 1.0, 1.5)))
    patches = grid(patch_size=(3, 5, 7), patch_distance=(5, 7), h=(0.1, 0.2, 0.3, 0.4, 0.6))
    return [
        Method("given", lambda image, missing: image),
        Method("gaussian", plain(filters.gaussian), grid(sigma=(0.5, 0.6, 0.7, 0.8, 1.0, 1.25))),
        Method("bilateral", plain(restoration.denoise_bilateral), colors),
        Method("wavelet", plain(restoration.denoise_wavelet, sigma=sigma), shrinkage),
        Method("total variation", plain(restoration.denoise_tv_chambolle, max_num_iter=100), weights),
        Method("non-local means", means, patches),
    ]


def inpainting(train: np.ndarray) -> list[Method]:
    """Returns the methods for missing pixels; train: clean uint8 [n, h, w, c]."""
    from skimage.restoration import inpaint_biharmonic

    mean = np.squeeze(train.mean(0) / 255, -1) if train.shape[-1] == 1 else train.mean(0) / 255

    def biharmonic(image: np.ndarray, missing: np.ndarray) -> np.ndarray:
        return inpaint_biharmonic(image, missing, channel_axis=-1 if image.ndim == 3 else None)

    def filled(image: np.ndarray, missing: np.ndarray, value: Any) -> np.ndarray:
        where = missing if image.ndim == 2 else missing[..., None]
        return np.where(where, value, image)

    return [
        Method("mean of the known", lambda image, missing: filled(image, missing, image[~missing].mean(0))),
        Method("mean of training", lambda image, missing: filled(image, missing, mean.mean((0, 1)))),
        Method("mean image", lambda image, missing: filled(image, missing, mean)),
        Method("biharmonic", biharmonic),
    ]


def unbiased(image: np.ndarray, sigma: float) -> np.ndarray:
    """Inverts the mean under clipped noise: the brightness in 0..255 whose mean is `image`.

    Args:
      image: Means in 0..255.
      sigma: Std of the noise, which is clipped to 0..255, in 0..255.
    """
    from scipy.stats import norm

    level = np.linspace(0, 255, 1024)
    low, high = -level / sigma, (255 - level) / sigma
    inner = level * (norm.cdf(high) - norm.cdf(low)) + sigma * (norm.pdf(low) - norm.pdf(high))
    return np.interp(image, inner + 255 * norm.sf(high), level)


def restored(method: Method, settings: Mapping[str, Any], data: CorruptedImages) -> np.ndarray:
    """Restores all images, float64 [n, h, w, c] in 0..255."""
    gray = data.clean.shape[-1] == 1
    results = []
    for number, image in enumerate(data.given.astype(np.float64) / 255):
        missing = None if data.missing is None else data.missing[number]
        restoration = method.restore(image[..., 0] if gray else image, missing, **settings)
        results.append(255 * (restoration[..., None] if gray else restoration))
    return np.stack(results)


def stored(images: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(images), 0, 255).astype(np.uint8)


def baselines(
    methods: Sequence[Method], tuned: CorruptedImages, scored: Mapping[str, CorruptedImages], cut: float
) -> Iterator[str]:
    """Yields one line per method and split, and a second one where noise was clipped.

    Args:
      tuned: Images that select the settings.
      cut: Std of noise that was clipped to 0..255, in 0..255. 0: without clipping.
    """
    for method in methods:
        restorations = [restored(method, settings, tuned) for settings in method.settings]
        for mapped in (False, True) if cut else (False,):
            finish = functools.partial(unbiased, sigma=cut) if mapped else (lambda images: images)
            ratios = [psnr(tuned.clean, stored(finish(images))).mean() for images in restorations]
            settings = method.settings[int(np.argmax(ratios))]
            words = ["unbiased"] * mapped + [f"{name}={_text(value)}" for name, value in settings.items()]
            for split, data in scored.items():
                images = stored(finish(restored(method, settings, data)))
                yield f"{split:10}  {method.name:18}  {figures(data, images)}  {', '.join(words)}"


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def figures(data: CorruptedImages, images: np.ndarray) -> str:
    """Formats the recipe's metrics of restored images uint8 [n, h, w, c]."""
    line = f"PSNR {psnr(data.clean, images).mean():6.2f}  SSIM {ssim(data.clean, images).mean():.4f}"
    if data.missing is None:
        return line
    return f"{line}  missing {np.nanmean(psnr(data.clean, images, data.missing[..., None])):6.2f}"


def corrupt(corruption: Any, seed: int, source: Any, count: int) -> CorruptedImages:
    """Corrupts the first `count` images of a split as the evaluation of a run with `seed` does."""
    import jax

    from jaxdl.data.pipeline import eval_batches
    from jaxdl.training.step import make_eval_step
    from jaxdl.training.task import Evaluation, Task, example_keys

    class Corrupting(Task):
        def evaluate(self, params: Any, variables: Any, batch: Any, key: Any) -> Evaluation:
            corrupted = corruption(example_keys(key, batch), batch["image"])
            return Evaluation({}, {name: value for name, value in corrupted._asdict().items() if value is not None})

    # The evaluation step derives its key from the seed only.
    step = jax.jit(make_eval_step(Corrupting()))
    parts, clean = [], []
    for batch in itertools.islice(eval_batches(source, CHUNK), -(-count // CHUNK)):
        parts.append(jax.device_get(step({}, {}, batch, np.int32(seed)).records))
        clean.append(batch["image"])
    images = {name: np.concatenate([part[name] for part in parts])[:count] for name in parts[0]}
    missing = images["known"][..., 0] == 0 if "known" in images else None
    return CorruptedImages(np.concatenate(clean)[:count], images["image"], missing)


def network(run: str, sources: Mapping[str, Any], counts: Mapping[str, int]) -> Iterator[str]:
    """Yields one line per split: the metrics of a run's network on its first images."""
    from jaxdl.data.pipeline import eval_batches
    from jaxdl.data.source import ColumnSource
    from jaxdl.runs.restore import load_trained

    trained = load_trained(run)
    for split, source in sources.items():
        few = ColumnSource(source.read(np.arange(counts[split])), source.fingerprint)
        batches = eval_batches(few, trained.program.eval_batch_size)
        metrics = trained.program.evaluate(trained.state, batches)
        missing = f"  missing {metrics['psnr_missing']:6.2f}" if "psnr_missing" in metrics else ""
        yield f"{split:10}  {'network':18}  PSNR {metrics['psnr']:6.2f}  SSIM {metrics['ssim']:.4f}{missing}  {run}"


def compared(name: str, run: str | None, count: int) -> Iterator[str]:
    """Yields the lines of one task, with the corruption of `run` if there is one."""
    import fiddle

    from jaxdl.config import resolve
    from jaxdl.runs.folder import RunFolder

    config: Any = resolve(RECIPE, TASKS[name])
    if run:
        config = from_json(RunFolder.open(run).config(), run).config
    corruption, experiment = fiddle.build(config.task.corruption), build(config)
    data: Any = experiment.data
    sources = {"validation": data.evals["validation"].load(), "test": data.test.load()}
    counts = {split: min(limit, len(sources[split])) for split, limit in (("validation", TUNED), ("test", count))}
    scored = {split: corrupt(corruption, experiment.seed, source, counts[split]) for split, source in sources.items()}
    if scored["validation"].missing is not None:
        train = data.train.load()
        methods, cut = inpainting(train.read(np.arange(min(len(train), 10_000)))["image"]), 0.0
    else:
        sigma = float(corruption.sigma)
        methods, cut = denoising(sigma / 255), sigma if corruption.clip else 0.0
    yield from baselines(methods, scored["validation"], scored, cut)
    if run:
        yield from network(run, sources, counts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=", ".join(TASKS))
    parser.add_argument("--run", help="run folder of the task; scores its network on the same images")
    parser.add_argument("--images", type=int, default=SCORED, help=f"test images, {SCORED} by default")
    arguments = parser.parse_args()
    for name in arguments.tasks or TASKS:
        for line in compared(name, arguments.run, arguments.images):
            print(f"{name:8}  {line}", flush=True)


if __name__ == "__main__":
    main()
