"""Diffusion: prediction targets, variational bound of Gaussian data, sampling from inputs."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from modules import random_weights

from jaxdl.decoding.noise_schedules import Karras, LogNormal
from jaxdl.errors import UserError
from jaxdl.models.ddpm_unet import DiffusionUNet
from jaxdl.models.dit import DiT
from jaxdl.tasks.diffusion import Diffusion
from jaxdl.tasks.parts.bits_per_dim import prior_kl, variational_bound
from jaxdl.tasks.parts.preconditioning import TARGETS, WEIGHTINGS

NETWORK = DiffusionUNet(outputs=1, channels=(8,), blocks=1, attention=(False,), groups=4)


@pytest.mark.parametrize("name", TARGETS)
def test_exact_predictions_of_every_target_denoise_to_the_data(name):
    random = np.random.default_rng(0)
    data, noise = random.normal(size=(2, 50))
    sigma = np.geomspace(0.01, 50, 50)
    image = data + sigma * noise
    c_skip, c_out = TARGETS[name](jnp.asarray(sigma), 0.5)
    prediction = {
        "noise": noise,
        "data": data,
        "v": (noise - sigma * data) / np.sqrt(1 + sigma**2),
        "velocity": noise - data,
        "edm": (data - image * 0.25 / (sigma**2 + 0.25)) / (sigma * 0.5 / np.sqrt(sigma**2 + 0.25)),
    }[name]
    np.testing.assert_allclose(c_skip * image + c_out * prediction, data, rtol=1e-4, atol=1e-4)


def test_the_variational_bound_of_gaussian_data_has_its_closed_form():
    """The diffusion loss is a log, the prior loss a KL, the reconstruction loss an integral."""
    count, schedule, spread = 400_000, Karras(), 0.25
    keys = jax.random.split(jax.random.key(0), 3)
    gray = jnp.clip(jnp.round((spread * jax.random.normal(keys[0], (count, 1)) + 1.0) * 127.5), 0, 255)
    data = gray / 127.5 - 1.0

    def denoise(image, sigma):
        return image * spread**2 / (spread**2 + sigma[:, None] ** 2)

    noise = jax.random.normal(keys[1], (2, count, 1))
    # Stratified levels reduce the variance.
    quantile = jax.random.permutation(keys[2], (jnp.arange(count) + 0.5) / count)
    grid = np.linspace(-8, 8, 4001)
    density = np.exp(-0.5 * grid**2) / np.sum(np.exp(-0.5 * grid**2))
    for sigma_min in (0.002, 0.0078):
        schedule = Karras(sigma_min=sigma_min)
        diffusion = 0.5 * math.log((1 + (spread / sigma_min) ** 2) / (1 + (spread / schedule.sigma_max) ** 2))
        total = 1 + schedule.sigma_max**2
        prior = 0.5 * ((schedule.sigma_max**2 + spread**2) / total - 1 - math.log(schedule.sigma_max**2 / total))
        steps = np.arange(-16, 17) / 127.5 / sigma_min
        reconstruction = np.sum(
            density * np.log(np.exp(0.5 * grid[:, None] ** 2 - 0.5 * (grid[:, None] - steps) ** 2).sum(1))
        )
        bits = float(jnp.mean(variational_bound(denoise, schedule, data, noise, quantile)))
        np.testing.assert_allclose(bits, (prior + diffusion + reconstruction) / math.log(2), atol=0.03)
    # Above the entropy of a gray level, and close to it if sigma_min is the width of a gray level.
    entropy = 0.5 * math.log2(2 * math.pi * math.e * (spread * 127.5) ** 2)
    assert entropy - 0.01 < bits < entropy + 0.25


def test_the_prior_loss_is_a_kl_of_gaussians():
    data, sigma_max = np.array([[0.5, -1.0]]), 3.0
    scale = 1 / math.sqrt(1 + sigma_max**2)
    mean, std = data * scale, sigma_max * scale
    expected = np.sum(0.5 * (std**2 + mean**2 - 1) - math.log(std))
    np.testing.assert_allclose(prior_kl(jnp.asarray(data), sigma_max), [expected], rtol=1e-5)


def test_invalid_arguments_are_refused():
    unet = DiffusionUNet(outputs=1, channels=(8,), blocks=1, attention=(False,), groups=4)
    valid = {"network": unet, "schedule": Karras(), "noise_levels": LogNormal()}
    for arguments, message in (
        ({"target": "nois"}, "did you mean 'noise'"),
        ({"weighting": "none"}, "weighting='none'"),
        ({"sampler": "hean"}, "did you mean 'heun'"),
        ({"steps": 0}, "steps=0"),
        ({"guidance": 2.0}, "needs a conditional network"),
        ({"classes": 3, "embedding": 4}, "classes=3 and embedding=4 exclude each other"),
        ({"guidance_interval": (4.0, 0.2)}, r"guidance_interval=\(4.0, 0.2\) must be .*0 <= low < high"),
        ({"guidance_interval": (-1.0, 4.0)}, "0 <= low < high"),
        ({"guidance_interval": (0.0, float("nan"))}, "0 <= low < high"),
        ({"interpolate": 1}, "interpolate=1 must be at least 2"),
        ({"inpaint": (0.5, 0.0, 0.5, 1.0)}, "inpaint=.*top < bottom"),
        ({"schedule": Karras(sigma_min=0.1)}, "at most 0.021, not 0.1"),
    ):
        with pytest.raises(UserError, match=message):
            Diffusion(**{**valid, **arguments})


def batch_of(count, size=8):
    return {
        "image": np.random.default_rng(0).integers(0, 256, (count, size, size, 1)).astype(np.uint8),
        "label": np.arange(count, dtype=np.int32) % 3,
        "index": np.arange(count, dtype=np.int32),
        "weight": np.ones(count, np.float32),
    }


def test_only_the_box_of_an_image_is_inpainted():
    task = Diffusion(NETWORK, Karras(), LogNormal(), steps=3, inpaint=(0.25, 0.5, 0.75, 1.0))
    batch = batch_of(2)
    outputs = jax.jit(task.predict)(*random_weights(task.init, batch), batch, jax.random.key(2))
    unchanged = np.asarray(outputs["image"]) == batch["image"]
    inside = np.zeros((8, 8, 1), bool)
    inside[2:6, 4:8] = True
    assert unchanged[:, ~inside].all()
    assert unchanged[:, inside].mean() < 0.5
    assert task.presentation.framing == "crop"


def test_samples_depend_on_the_embedding_and_guidance_leads_away_from_those_of_zeros():
    network = DiT(outputs=1, patch=4, width=8, depth=1, heads=2, frequencies=8)
    embedding = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)

    def samples(embedding, **arguments):
        task = Diffusion(network, Karras(), LogNormal(), embedding=5, steps=3, **arguments)
        batch = batch_of(4) | {"embedding": embedding}
        return np.asarray(jax.jit(task.sample)(*random_weights(task.init, batch), batch, jax.random.key(2))["image"])

    first, zeros = samples(embedding), samples(np.zeros_like(embedding))
    assert (first != zeros).mean() > 0.1
    np.testing.assert_array_equal(samples(np.zeros_like(embedding), guidance=3.0), zeros)
    guided = samples(embedding, guidance=3.0).astype(int)
    assert np.abs(guided - zeros).mean() > np.abs(first.astype(int) - zeros).mean()
    task = Diffusion(network, Karras(), LogNormal(), embedding=5)
    params, variables = random_weights(task.init, batch_of(4))
    for wrong, message in (({}, "needs 'embedding'"), ({"embedding": embedding[:, :3]}, "set embedding=3, not 5")):
        with pytest.raises(UserError, match=message):
            task.sample(params, variables, batch_of(4) | wrong, jax.random.key(2))


def test_embeddings_are_dropped_as_labels_are():
    """With all embeddings dropped the loss does not depend on them."""
    network = DiT(outputs=1, patch=4, width=8, depth=1, heads=2, frequencies=8)

    def loss(embedding, drop_label):
        task = Diffusion(network, Karras(), LogNormal(), embedding=5, drop_label=drop_label)
        batch = batch_of(4) | {"embedding": np.full((4, 5), embedding, np.float32)}
        params, variables = random_weights(task.init, batch)
        return float(task.loss(params, variables, batch, jax.random.key(1), jnp.int32(0), {}).terms["error"].sum)

    assert loss(1.0, 1.0) == loss(0.0, 1.0) == loss(0.0, 0.0)
    assert loss(1.0, 0.0) != loss(0.0, 0.0)


@pytest.mark.parametrize("target", TARGETS)
def test_the_velocity_weighting_of_every_target_is_the_mse_of_the_velocity(target):
    sigma, error = jnp.asarray([0.1, 1.0, 7.0]), 0.3  # of the denoised image
    c_out = TARGETS[target](sigma, 0.5)[1]
    weighted = WEIGHTINGS["velocity"](sigma, 0.5, c_out) * jnp.square(error / c_out)
    time = sigma / (1.0 + sigma)  # z = (1 - t) y + t n and v = n - y, so y = z - t v
    np.testing.assert_allclose(weighted, jnp.square(error / time), rtol=1e-5)


def test_an_interpolation_ends_at_the_start_of_the_next():
    batch = batch_of(8)
    samples = []
    for interpolate in (0, 4):
        task = Diffusion(NETWORK, Karras(), LogNormal(), sampler="euler", steps=3, interpolate=interpolate)
        samples.append(
            np.asarray(jax.jit(task.sample)(*random_weights(task.init, batch), batch, jax.random.key(2))["image"], int)
        )
    independent, paths = samples
    np.testing.assert_array_equal(paths[[0, 4]], independent[[0, 4]])
    np.testing.assert_allclose(paths[3], paths[4], atol=1)
    steps = [np.abs(paths[number] - paths[number + 1]).mean() for number in range(3)]
    assert 0 < max(steps) < np.abs(paths[0] - paths[3]).mean()


def test_a_self_conditioned_network_depends_on_the_previous_output():
    task = Diffusion(NETWORK, Karras(), LogNormal(), self_condition=True, steps=2)
    batch = batch_of(2)
    params, _ = random_weights(task.init, batch)
    assert params["denoiser"]["entry"]["kernel"].shape[2] == 2
    image, sigma, denoise = np.ones((2, 8, 8, 1), np.float32), np.ones(2, np.float32), jax.jit(task.denoise)
    outputs = [denoise(params, image, sigma, None, previous) for previous in (None, np.zeros_like(image), image)]
    np.testing.assert_array_equal(outputs[0], outputs[1])
    assert np.abs(outputs[2] - outputs[1]).max() > 1e-3


def test_guidance_applies_inside_its_interval():
    network = DiffusionUNet(outputs=1, channels=(8,), blocks=1, attention=(False,), groups=4, classes=3)
    batch = batch_of(4)

    def samples(**arguments):
        task = Diffusion(network, Karras(), LogNormal(), classes=3, steps=4, sampler="heun", **arguments)
        return np.asarray(jax.jit(task.sample)(*random_weights(task.init, batch), batch, jax.random.key(2))["image"])

    everywhere, nowhere = samples(guidance=3.0), samples()
    assert (everywhere != nowhere).mean() > 0.1
    np.testing.assert_array_equal(samples(guidance=3.0, guidance_interval=(0.0, 80.0)), everywhere)
    np.testing.assert_array_equal(samples(guidance=3.0, guidance_interval=(80.0, 100.0)), nowhere)
    partial = samples(guidance=3.0, guidance_interval=(0.2, 4.0))
    assert (partial != everywhere).any()
    assert (partial != nowhere).any()


def test_edited_images_stay_close_to_the_input():
    network = DiffusionUNet(outputs=1, channels=(8,), blocks=1, attention=(False,), groups=4, classes=3)
    random = np.random.default_rng(0)
    batch = {
        "image": random.integers(0, 256, (4, 8, 8, 1)).astype(np.uint8),
        "label": np.array([0, 1, 2, 0], np.int32),
        "index": np.arange(4, dtype=np.int32),
        "weight": np.ones(4, np.float32),
    }
    differences = []
    for edit in (0.0, 0.1, 0.9):
        task = Diffusion(network, Karras(), LogNormal(), classes=3, steps=2, edit=edit)
        assert (task.presentation.framing is None) == (edit == 0)
        params, variables = random_weights(task.init, batch)
        outputs = jax.jit(task.predict)(params, variables, batch, jax.random.key(1))
        assert ("label" in outputs) == (edit == 0)
        differences.append(np.abs(outputs["image"].astype(float) - batch["image"]).mean())
    assert differences[1] < 12 < differences[2] < differences[0] + 1
    with pytest.raises(UserError, match="edit=2"):
        Diffusion(network, Karras(), LogNormal(), edit=2)
