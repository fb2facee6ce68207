"""Generated images beside their nearest training images, by the predict command."""

import numpy as np
import pytest
from PIL import Image

from jaxdl.commands import evaluate, predict, train
from jaxdl.data.synthetic.images import MockImages
from jaxdl.errors import UserError
from jaxdl.runs.nearest import nearest_training_images
from jaxdl.runs.restore import load_trained

RECIPE = """
import optax
from fiddle.experimental.auto_config import auto_config

from jaxdl.config.experiment import Experiment
from jaxdl.data.dataset import Data
from jaxdl.data.synthetic.images import MockImages
from jaxdl.decoding.noise_schedules import Karras, LogNormal
from jaxdl.models.dit import DiT
from jaxdl.tasks.diffusion import Diffusion


@auto_config
def experiment(steps: int = 1) -> Experiment:
    network = DiT(outputs=3, patch=4, width=8, depth=1, heads=2, classes=3, frequencies=8)
    return Experiment(
        task=Diffusion(network, Karras(), LogNormal(), classes=3, steps=2),
        data=Data(train=MockImages(shape=(8, 8, 3), classes=3, examples=8), evals={}, batch_size=8),
        optimizers={"train": optax.adam(1e-3)},
        steps=steps,
    )
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nearest")
    (folder / "recipe.py").write_text(RECIPE)
    train.run(str(folder / "recipe.py"), [], str(folder / "run"))
    return folder / "run"


def test_training_images_are_nearest_to_themselves(run):
    images = MockImages(shape=(8, 8, 3), classes=3, examples=8).load().columns["image"]
    changed = images[[4, 2]].astype(int)
    changed[1] += np.where(changed[1] < 200, 3, -3)
    trained = load_trained(str(run), None, [])
    nearest, distance = nearest_training_images(trained, list(changed.astype(np.uint8)))
    np.testing.assert_array_equal(nearest, images[[4, 2]])
    np.testing.assert_allclose(distance, [0, 3])
    with pytest.raises(UserError, match=r"shape \[4, 4, 3\] .* images of shape \[8, 8, 3\]; drop --nearest"):
        nearest_training_images(trained, [images[0, :4, :4]])


def test_samples_are_drawn_above_their_nearest_training_images(run, tmp_path):
    rows = predict.sample(str(run), 3, pictures=str(tmp_path), nearest=True)
    images = MockImages(shape=(8, 8, 3), classes=3, examples=8).load().columns["image"].astype(float)
    for row in rows:
        with Image.open(row["picture"]) as image:
            sample = np.asarray(image, float)
        assert row["nearest"] == pytest.approx(np.sqrt(np.square(sample - images).mean((1, 2, 3))).min(), abs=0.06)
    with Image.open(tmp_path / "nearest.png") as picture:
        assert picture.height > 2 * 84
    assert "nearest" not in predict.sample(str(run), 1, pictures=str(tmp_path))[0]


EMBEDDING = """
import optax
from fiddle.experimental.auto_config import auto_config

from jaxdl.config.experiment import Experiment
from jaxdl.data.bank import WithBank
from jaxdl.data.dataset import Data
from jaxdl.data.image.transforms import RandomFlip
from jaxdl.data.image.views import TwoViews
from jaxdl.data.synthetic.images import MockImages
from jaxdl.models.convnet import ConvNet
from jaxdl.models.projection import ProjectedBackbone
from jaxdl.tasks.joint_embedding import JointEmbedding
from jaxdl.tasks.parts.embedding_scores import Retrieval
from jaxdl.tasks.parts.view_losses import NTXent


@auto_config
def experiment(steps: int = 1) -> Experiment:
    train = MockImages(shape=(8, 8, 1), classes=3, examples=40)
    bank = MockImages(shape=(8, 8, 1), classes=3, examples=31, seed=1)
    queries = MockImages(shape=(8, 8, 1), classes=3, examples=5, split="validation")
    return Experiment(
        task=JointEmbedding(ProjectedBackbone(ConvNet(3, channels=(8,), depth=1), (8,), 4), NTXent(), Retrieval()),
        data=Data(
            train=train,
            evals={"validation": WithBank(queries, bank)},
            augment=(TwoViews((RandomFlip(),)),),
            batch_size=8,
        ),
        optimizers={"train": optax.adam(1e-3)},
        steps=steps,
    )
"""


@pytest.fixture(scope="module")
def embedder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("embedder")
    (folder / "embedder.py").write_text(EMBEDDING)
    train.run(str(folder / "embedder.py"), [], str(folder / "run"))
    return folder / "run"


def test_files_are_shown_beside_their_nearest_neighbours_in_the_bank(embedder, tmp_path):
    """An image of the bank is its own nearest neighbour."""
    bank = MockImages(shape=(8, 8, 1), classes=3, examples=31, seed=1).load().columns
    files = [str(tmp_path / f"{number}.png") for number in (30, 4)]
    for file, number in zip(files, (30, 4)):
        Image.fromarray(bank["image"][number, ..., 0]).save(file)
    rows = predict.run(str(embedder), files, pictures=str(tmp_path / "out"), nearest=True)
    for row, number in zip(rows, (30, 4)):
        first = row["nearest"][0]
        assert first == {"example": number, "label": f"class {number % 3}", "similarity": pytest.approx(1, abs=1e-3)}
        similarities = [one["similarity"] for one in row["nearest"]]
        assert similarities == sorted(similarities, reverse=True)
        assert row["label"] in {f"class {label}" for label in range(3)}
        with Image.open(row["picture"]) as picture:
            assert picture.width > 7 * 96
    (row,) = predict.run(str(embedder), files[:1])
    assert set(row) == {"file", "embedding"}
    with pytest.raises(UserError, match="add --nearest"):
        predict.run(str(embedder), files[:1], pictures=str(tmp_path / "out"))


def test_training_data_are_evaluated_with_the_bank(embedder):
    metrics = evaluate.run(str(embedder), split="train")["metrics"]["train"]
    assert 0 <= metrics["recall_at_1"] <= metrics["recall_at_5"] <= 1
