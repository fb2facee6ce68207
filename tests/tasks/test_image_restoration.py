"""Image restoration: loss, metrics, draws, prediction on files, pictures, errors."""

# The return types of flax's init and apply, and the optional methods of a task, are not expressed in types.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportIndexIssue=false

from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxdl.commands import predict, train
from jaxdl.errors import UserError
from jaxdl.metrics.restoration import psnr
from jaxdl.models.dncnn import DnCNN, PixelUnshuffle, shuffle, unshuffle
from jaxdl.models.layers.norms import group_norm
from jaxdl.tasks.image_restoration import ImageRestoration
from jaxdl.tasks.parts.corruption import (
    Downsampling,
    GaussianBlur,
    GaussianNoise,
    MissingPixels,
    MissingRectangles,
)
from jaxdl.tasks.parts.pixels import Normalize
from jaxdl.training.task import example_keys

KEY = jax.random.key(0)
NORMALIZE = Normalize(mean=0.4, std=0.3)


class Constant(nn.Module):
    """Outputs the same value everywhere."""

    value: float = 0.0
    outputs: int = 1

    @nn.compact
    def __call__(self, image, *, train):
        level = self.param("level", nn.initializers.constant(self.value), ())
        return jnp.broadcast_to(level, (*image.shape[:3], self.outputs))


class Channel(nn.Module):
    """Outputs one of the input channels."""

    channel: int

    @nn.compact
    def __call__(self, image, *, train):
        return image[..., self.channel :][..., :1] * self.param("scale", nn.initializers.ones, ())


def make_batch(size=4, shape=(12, 14, 1), seed=0):
    image = np.random.default_rng(seed).integers(0, 256, (size, *shape), dtype=np.uint8)
    return {"image": image, "weight": np.ones(size, np.float32), "index": np.arange(size, dtype=np.int32)}


def evaluated(task, batch):
    params, variables = task.init(KEY, batch)
    evaluation = jax.device_get(jax.jit(task.evaluate)(params, variables, batch, KEY))
    return evaluation.metrics, evaluation.records, task.score(evaluation.records, {}, {})


@pytest.mark.parametrize(
    ("loss", "function"),
    [("mse", np.square), ("mae", np.abs), ("charbonnier", lambda error: np.sqrt(error**2 + 1e-6))],
)
def test_loss_matches_numpy(loss, function):
    corruption = GaussianNoise(30.0)
    task = ImageRestoration(Constant(0.25), corruption, pixel_loss=loss, normalize=NORMALIZE)
    batch = make_batch()
    batch["weight"] = np.array([1, 2, 0.5, 0], np.float32)
    params, variables = task.init(KEY, batch)
    term = jax.jit(task.phases[0].loss)(params, variables, batch, KEY, 0, {}).terms[loss]
    noisy = np.asarray(corruption(example_keys(KEY, batch), batch["image"]).image, np.float64)
    error = function((noisy - batch["image"]) / 255 / 0.3 + 0.25)
    np.testing.assert_allclose(term.sum, (batch["weight"] * error.sum((1, 2, 3))).sum(), rtol=1e-5)
    np.testing.assert_allclose(term.weight, 3.5 * 12 * 14)


def test_only_missing_pixels_are_trained_and_predicted():
    corruption = MissingRectangles(1, (0.1, 0.4))
    task = ImageRestoration(Constant(0.25), corruption, normalize=NORMALIZE)
    batch = make_batch()
    metrics, records, _ = evaluated(task, batch)
    mask = np.asarray(corruption(example_keys(KEY, batch), batch["image"]).known)
    error = (1 - mask) * (0.25 - (batch["image"] / 255 - 0.4) / 0.3) ** 2
    np.testing.assert_allclose(metrics["loss"][0], error.sum(), rtol=1e-5)
    np.testing.assert_allclose(metrics["loss"][1], (1 - mask).sum())
    level = round(255 * (0.25 * 0.3 + 0.4))
    np.testing.assert_array_equal(records["restored"], np.where(mask > 0, batch["image"], level))
    np.testing.assert_array_equal(records["corrupted"], np.where(mask > 0, batch["image"], 102))
    np.testing.assert_array_equal(records["known"], mask)


@pytest.mark.parametrize("corruption", [GaussianNoise(40.0), GaussianBlur(1.0), Downsampling(2)])
def test_residual_models_with_zero_output_return_their_input(corruption):
    _, records, scores = evaluated(ImageRestoration(Constant(), corruption, normalize=NORMALIZE), make_batch())
    np.testing.assert_array_equal(records["restored"], records["corrupted"])
    assert np.any(records["corrupted"] != records["clean"])
    assert scores["psnr"] == scores["psnr_corrupted"]
    _, direct, _ = evaluated(
        ImageRestoration(Constant(), corruption, residual=False, normalize=NORMALIZE), make_batch()
    )
    assert np.all(direct["restored"] == 102)


def test_missing_pixels_are_zero_and_marked_by_a_mask_channel():
    batch = make_batch()
    mask = np.asarray(MissingPixels(0.5)(example_keys(KEY, batch), batch["image"]).known)
    outputs = {}
    for channel in (0, 1):
        task = ImageRestoration(Channel(channel), MissingPixels(0.5), normalize=Normalize(mean=0.0, std=1.0))
        outputs[channel] = evaluated(task, batch)[1]["restored"][mask == 0]
    assert np.all(outputs[0] == 0)
    assert np.all(outputs[1] == 0)
    task = ImageRestoration(
        Channel(1), MissingPixels(0.5), normalize=Normalize(mean=0.25, std=0.5)
    )  # the mask is not normalized
    np.testing.assert_array_equal(evaluated(task, batch)[1]["restored"][mask == 0], 64)


def test_scores_are_means_over_images():
    batch = make_batch(size=3)
    batch["image"][0] = 102  # equal to the fill value
    _, records, scores = evaluated(ImageRestoration(Constant(), MissingPixels(0.3), normalize=NORMALIZE), batch)
    ratios = psnr(records["clean"], records["restored"])
    assert ratios[0] == 60
    np.testing.assert_allclose(scores["psnr"], ratios.mean())
    missing = records["known"] == 0
    by_hand = [
        60.0 if n == 0 else 10 * np.log10(255**2 / np.mean((batch["image"][n][missing[n]].astype(float) - 102) ** 2))
        for n in range(3)
    ]
    np.testing.assert_allclose(scores["psnr_missing"], np.mean(by_hand))
    assert scores["psnr_missing"] < scores["psnr"]
    assert scores["examples"].shape == (3, 3, 12, 14, 1)
    np.testing.assert_array_equal(scores["examples"][:, 0], batch["image"])


def test_corruptions_depend_on_the_example_and_the_step():
    task = ImageRestoration(Constant(), GaussianNoise(30.0), normalize=NORMALIZE)
    batch = make_batch()
    expected = evaluated(task, batch)[1]["corrupted"]
    np.testing.assert_array_equal(evaluated(task, {k: v[1:3] for k, v in batch.items()})[1]["corrupted"], expected[1:3])
    params, variables = task.init(KEY, batch)
    first, second = (
        task.phases[0].loss(params, variables, batch, jax.random.key(n), 0, {}).terms["mse"].sum for n in (1, 2)
    )
    assert first != second


def test_predictions_take_corrupted_images():
    batch = {"image": make_batch(shape=(9, 10, 1))["image"]}
    batch["image"][0, 2, 3] = 255
    full = batch | {"index": np.arange(4, dtype=np.int32), "weight": np.ones(4, np.float32)}
    task = ImageRestoration(Constant(), GaussianNoise(50.0), normalize=NORMALIZE)
    params, variables = task.init(KEY, full)
    restored = task.predict(params, variables, full, KEY)["restored"]
    assert restored.dtype == jnp.uint8
    np.testing.assert_array_equal(restored, batch["image"])
    task = ImageRestoration(Constant(), MissingRectangles(), normalize=NORMALIZE)
    restored = task.predict(params, variables, full, KEY)["restored"]
    np.testing.assert_array_equal(restored, np.where(batch["image"] == 255, 102, batch["image"]))
    task = ImageRestoration(Constant(), Downsampling(3), normalize=NORMALIZE)
    restored = task.predict(params, variables, full, KEY)["restored"]
    assert restored.shape == (4, 27, 30, 1)
    assert restored.dtype == jnp.uint8


def test_pictures_show_evaluation_examples_and_files():
    task = ImageRestoration(Constant(), MissingRectangles(), normalize=NORMALIZE)
    batch = make_batch()
    *_, scores = evaluated(task, batch)
    picture = task.presentation.pictures(batch, {}, scores, {})["restored"]
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
    plain = task.presentation.pictures(
        batch, {}, {**scores, "examples_known": np.ones_like(scores["examples_known"])}, {}
    )["restored"]
    assert np.any(picture != plain)  # missing pixels are highlighted
    assert task.presentation.pictures(batch, {}, {}, {}) == {}
    image = np.full((20, 30, 1), 90, np.uint8)
    image[5:9, 7:20] = 255
    padded = np.zeros((32, 32, 1), np.uint8)
    picture = task.presentation.picture({"image": image}, {"restored": padded}, {})
    assert picture.shape[1] > 2 * picture.shape[0]  # two wide images side by side
    assert np.all(picture == (86, 180, 233), axis=-1).mean() > 0.02
    larger = ImageRestoration(Constant(), Downsampling(2), normalize=NORMALIZE)
    assert larger.presentation.picture({"image": image}, {"restored": padded.repeat(2, 0).repeat(2, 1)}, {}).ndim == 3


def test_wrong_arguments_and_outputs_are_refused():
    with pytest.raises(UserError, match="pixel_loss='mes': did you mean 'mse'"):
        ImageRestoration(Constant(), GaussianNoise(), pixel_loss="mes")
    task = ImageRestoration(Constant(outputs=2), GaussianNoise())
    batch = make_batch()
    params, variables = task.init(KEY, batch)
    with pytest.raises(UserError, match=r"the shape \(4, 12, 14, 2\); the task needs \[4, 12, 14, 1\]"):
        task.evaluate(params, variables, batch, KEY)


def test_shuffle_inverts_unshuffle():
    image = np.arange(2 * 4 * 6 * 3).reshape(2, 4, 6, 3)
    squares = np.asarray(unshuffle(jnp.asarray(image), 2))
    assert squares.shape == (2, 2, 3, 12)
    np.testing.assert_array_equal(squares[1, 1, 2], image[1, 2:4, 4:6].ravel())
    np.testing.assert_array_equal(shuffle(jnp.asarray(squares), 2), image)


def test_models_output_every_pixel_of_any_size():
    network = DnCNN(outputs=4, channels=8, depth=2, norm=group_norm)
    image = np.random.default_rng(0).random((2, 7, 9, 1), np.float32)
    output, _ = PixelUnshuffle(network).init_with_output(KEY, image, train=False)
    assert output.shape == (2, 7, 9, 1)
    output, variables = DnCNN(outputs=3, channels=8, depth=2).init_with_output(KEY, image, train=False)
    assert output.shape == (2, 7, 9, 3)
    assert {"params", "batch_stats"} == set(variables)


def test_receptive_field_of_dncnn_is_its_depth():
    network = DnCNN(outputs=1, channels=8, depth=2)
    image = np.random.default_rng(0).random((1, 9, 9, 1), np.float32)
    variables = network.init(KEY, image, train=False)
    gradient = jax.grad(lambda x: network.apply(variables, x, train=False)[0, 4, 4, 0])(image)  # type: ignore
    rows, columns = np.nonzero(np.asarray(gradient)[0, ..., 0])
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (2, 6, 2, 6)


RECIPE = """
import optax
from fiddle.experimental.auto_config import auto_config

from jaxdl.data.dataset import Data
from jaxdl.data.synthetic.images import MockImages
from jaxdl.config.experiment import Experiment
from jaxdl.models.dncnn import DnCNN
from jaxdl.tasks.parts.corruption import GaussianNoise
from jaxdl.tasks.image_restoration import ImageRestoration


@auto_config
def experiment(steps: int = 1) -> Experiment:
    return Experiment(
        task=ImageRestoration(DnCNN(outputs=1, channels=4, depth=1), GaussianNoise(25)),
        data=Data(train=MockImages(shape=(12, 12, 1), examples=8), evals={}, batch_size=8),
        optimizers={"train": optax.adam(1e-3)},
        steps=steps,
    )
"""


def test_restored_files_keep_their_size(tmp_path):
    (tmp_path / "denoised.py").write_text(RECIPE)
    train.run(str(tmp_path / "denoised.py"), [], str(tmp_path / "run"))
    sizes = {"small": (12, 12), "alike": (12, 12), "wide": (30, 21), "large": (50, 64)}  # the last: one image per batch
    random = np.random.default_rng(0)
    for name, size in sizes.items():
        Image.fromarray(random.integers(0, 256, size, dtype=np.uint8)).save(tmp_path / f"{name}.png")
    files = [str(tmp_path / f"{name}.png") for name in sizes]
    rows = predict.run(
        str(tmp_path / "run"), files, pictures=str(tmp_path / "out"), output=str(tmp_path / "rows.jsonl")
    )
    assert [row["file"] for row in rows] == files
    for row, size in zip(rows, sizes.values()):
        with Image.open(row["restored"]) as image:
            assert image.size == size[::-1]
            assert image.mode == "L"
        with Image.open(row["picture"]) as image:
            assert image.mode == "RGB"
    # Pixels do not depend on the other files or on the batch size (1 or 8).
    single = predict.run(str(tmp_path / "run"), files[3:], pictures=str(tmp_path / "alone"))
    assert Path(single[0]["restored"]).read_bytes() == Path(rows[3]["restored"]).read_bytes()
