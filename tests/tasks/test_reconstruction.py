"""Reconstruction: loss, metrics and predictions against numpy; padding, pictures, errors."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.errors import UserError
from jaxdl.tasks.parts.pixels import Normalize
from jaxdl.tasks.reconstruction import Reconstruction

KEY = jax.random.key(0)
MEAN, STD = (0.3, 0.6), (0.2, 0.5)


class Channels(nn.Module):
    """Autoencoder whose code is the channel means, scaled by a parameter."""

    def setup(self):
        self.scale = self.param("scale", lambda key: jnp.float32(0.9))

    def encode(self, image, *, train):
        return image.mean((1, 2))

    def decode(self, code, *, train):
        return jnp.broadcast_to(self.scale * code[:, None, None], (len(code), 4, 3, code.shape[-1]))

    def __call__(self, image, *, train):
        return self.decode(self.encode(image, train=train), train=train)


def make_batch(size=5, seed=0):
    image = np.random.default_rng(seed).integers(0, 256, (size, 4, 3, 2), dtype=np.uint8)
    return {"image": image, "weight": np.ones(size, np.float32), "index": np.arange(size)}


@functools.cache
def compiled():
    task = Reconstruction(Channels(), normalize=Normalize(mean=MEAN, std=STD))
    return task, jax.jit(task.phases[0].loss), jax.jit(task.evaluate), jax.jit(task.predict)


def expected(image):
    """Computes the codes [n, 2] and reconstructions in [0, 1], [n, 4, 3, 2]."""
    normal = (image / 255 - np.array(MEAN)) / np.array(STD)
    code = normal.mean((1, 2))
    reconstruction = np.broadcast_to(0.9 * code[:, None, None], image.shape) * np.array(STD) + np.array(MEAN)
    return code, reconstruction


def test_loss_and_metrics_match_numpy():
    task, loss, evaluate, _ = compiled()
    batch = make_batch()
    batch["weight"] = np.array([1, 1, 1, 1, 0], np.float32)
    params, variables = task.init(KEY, batch)
    assert variables == {}
    errors = (expected(batch["image"])[1] - batch["image"] / 255)[:4]
    squares = np.square(errors).mean((1, 2, 3))
    np.testing.assert_allclose(
        loss(params, variables, batch, KEY, 0, {}).terms["mse"][:2], (squares.sum(), 4), rtol=1e-5
    )
    metrics = evaluate(params, variables, batch, KEY).metrics
    np.testing.assert_allclose(metrics["mse"], (squares.sum(), 4), rtol=1e-5)
    np.testing.assert_allclose(metrics["mae"], (np.abs(errors).mean((1, 2, 3)).sum(), 4), rtol=1e-5)
    np.testing.assert_allclose(metrics["psnr"], (-10 * np.log10(squares).sum(), 4), rtol=1e-5)


def test_perfect_reconstructions_have_a_finite_psnr():
    task, _, evaluate, _ = compiled()
    image = np.full((2, 4, 3, 2), 255, np.uint8)
    params, variables = task.init(KEY, make_batch())
    params = jax.tree.map(jnp.ones_like, params)
    batch = {"image": image, "weight": np.ones(2, np.float32), "index": np.arange(2)}
    total, weight = evaluate(params, variables, batch, KEY).metrics["psnr"]
    assert total / weight == pytest.approx(100, abs=0.1)


def test_predictions_are_pixels_and_latents():
    task, _, _, predict = compiled()
    batch = make_batch()
    params, variables = task.init(KEY, batch)
    outputs = jax.tree.map(np.asarray, predict(params, variables, batch, KEY))
    code, reconstruction = expected(batch["image"])
    np.testing.assert_allclose(outputs["latents"], code, rtol=1e-4, atol=1e-5)
    assert outputs["reconstruction"].dtype == np.uint8
    np.testing.assert_allclose(outputs["reconstruction"], np.clip(reconstruction, 0, 1) * 255, atol=0.51)
    np.testing.assert_allclose(
        outputs["mse"], np.square(reconstruction - batch["image"] / 255).mean((1, 2, 3)), rtol=1e-4
    )
    row = task.presentation.readable(
        {}, {name: value[0] for name, value in outputs.items()}, {"label": ("two", "classes")}
    )
    assert set(row) == {"mse", "latents"}
    np.testing.assert_allclose(row["latents"], code[0], rtol=1e-4)


def test_reconstructions_are_clipped_to_valid_pixels():
    task, _, _, predict = compiled()
    batch = make_batch(size=2)
    batch["image"][0], batch["image"][1] = 255, 0
    params, variables = task.init(KEY, batch)
    outputs = predict(jax.tree.map(lambda leaf: 3 * jnp.ones_like(leaf), params), variables, batch, KEY)
    np.testing.assert_array_equal(outputs["reconstruction"][0], np.full((4, 3, 2), 255))
    np.testing.assert_array_equal(outputs["reconstruction"][1], np.zeros((4, 3, 2)))


def test_pictures_show_images_and_reconstructions():
    task, *_ = compiled()
    draws = np.random.default_rng(0)
    images = draws.integers(0, 256, (30, 8, 8, 1), dtype=np.uint8)
    weight = np.ones(30, np.float32)
    weight[3:] = 0
    batch, outputs = {"image": images, "weight": weight}, {"reconstruction": images}
    few = task.presentation.pictures(batch, outputs, {}, {})["reconstructions"]
    grid = task.presentation.pictures({"image": images}, outputs, {}, {})["reconstructions"]
    assert few.dtype == grid.dtype == np.uint8
    assert few.shape[0] < grid.shape[0]
    picture = task.presentation.picture(
        {"image": draws.integers(0, 256, (50, 70, 3), dtype=np.uint8)}, {"reconstruction": images[0]}, {}
    )
    assert picture.dtype == np.uint8


def test_wrong_output_shapes_are_refused():
    class Flat(nn.Module):
        @nn.compact
        def __call__(self, image, *, train):
            return image[..., :1]

    task = Reconstruction(Flat())
    batch = make_batch()
    with pytest.raises(UserError, match=r"the model returns the shape \(5, 4, 3, 1\); the task needs \[5, 4, 3, 2\]"):
        task.evaluate({"autoencoder": {}}, {}, batch, KEY)
