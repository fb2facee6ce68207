"""Samplers and the bound where the best denoiser is known: data that are Gaussian."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.decoding import diffusion_samplers as samplers
from jaxdl.decoding.noise_schedules import (
    Cosine,
    Karras,
    Linear,
    LogitNormal,
    LogNormal,
    RectifiedFlow,
    Uniform,
)
from jaxdl.errors import UserError
from jaxdl.models.ddpm_unet import DiffusionUNet
from jaxdl.models.dit import DiT
from jaxdl.tasks.consistency import ConsistencyDistillation, heun_step, pseudo_huber
from jaxdl.tasks.diffusion import SAMPLERS, Diffusion
from jaxdl.tasks.parts.bits_per_dim import prior_kl, variational_bound
from jaxdl.tasks.parts.preconditioning import TARGETS

SCHEDULES = [Linear(), Cosine(), Karras(), RectifiedFlow()]
MEAN, SPREAD = 0.3, 0.5  # of the data


def expected(image, sigma, guess):
    """The best denoiser for data that are normal."""
    return MEAN + (image - MEAN) * SPREAD**2 / (SPREAD**2 + sigma**2)


def flowed(image, start, stop):
    """Where the probability flow takes an image from one level to another."""
    return MEAN + (image - MEAN) * ((SPREAD**2 + stop**2) / (SPREAD**2 + start**2)) ** 0.5


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda value: type(value).__name__)
def test_levels_rise_from_the_least_to_the_most(schedule):
    sigma = np.asarray(schedule.sigma(jnp.linspace(0.0, 1.0, 101)))
    assert np.all(np.diff(sigma) > 0)
    np.testing.assert_allclose(sigma[[0, -1]], [schedule.sigma_min, schedule.sigma_max], rtol=2e-2)


def test_schedules_are_those_of_the_papers():
    time = jnp.linspace(0.05, 0.95, 19)
    sigma = {type(each): np.asarray(each.sigma(time), np.float64) for each in SCHEDULES}
    # DDPM's product of 1 - beta over 1,000 steps, as they come down to a limit.
    beta = np.linspace(0.1, 20.0, 100_000) / 100_000
    kept = np.cumprod(1 - beta)[(np.asarray(time) * 100_000).astype(int)]
    np.testing.assert_allclose(1 / (1 + sigma[Linear] ** 2), kept, rtol=1e-2)
    np.testing.assert_allclose(sigma[Cosine], np.tan(0.5 * np.pi * np.asarray(time)), rtol=7e-2)
    np.testing.assert_allclose(sigma[RectifiedFlow], time / (1 - time), rtol=5e-2)
    ends = 80 ** (1 / 7), 0.002 ** (1 / 7)
    np.testing.assert_allclose(sigma[Karras], (ends[1] + np.asarray(time) * (ends[0] - ends[1])) ** 7, rtol=1e-4)
    shifted = RectifiedFlow(shift=3.0).sigma(jnp.float32(0.5))
    np.testing.assert_allclose(shifted, 3 * 0.5 / (1 + 2 * 0.5) / (1 - 3 * 0.5 / (1 + 2 * 0.5)), rtol=2e-2)


def test_training_sees_the_levels_it_should():
    quantile = jnp.linspace(0.0005, 0.9995, 1000)
    logs = jnp.log(LogNormal(-1.2, 1.2).sigma(Karras(), quantile))
    np.testing.assert_allclose((logs.mean(), logs.std()), (-1.2, 1.2), atol=0.02)
    np.testing.assert_allclose(Uniform().sigma(Cosine(), quantile), Cosine().sigma(quantile))
    middle = LogitNormal().sigma(RectifiedFlow(), jnp.float32(0.5))
    np.testing.assert_allclose(middle, 1.0, rtol=2e-2)


def test_wrong_schedules_are_refused():
    with pytest.raises(UserError, match="sigma_min=0 must be positive"):
        Karras(sigma_min=0)
    with pytest.raises(UserError, match="shift=-1 must be positive"):
        RectifiedFlow(shift=-1)
    with pytest.raises(UserError, match="sigma_min=9 must be below sigma_max=3"):
        Cosine(sigma_min=9, sigma_max=3)


def error_of(sampler, steps):
    """How far a sampler ends from where the flow goes, from sigma 2 to 0.2."""
    sigmas = jnp.asarray(np.geomspace(2.0, 0.2, steps + 1))
    start = MEAN + jnp.asarray([[1.7], [-0.4], [3.0]])
    end = sampler(expected, start, sigmas, None).image
    return float(jnp.abs(end - flowed(start, 2.0, 0.2)).max())


@pytest.mark.parametrize(
    ("sampler", "order"),
    [(samplers.euler, 1), (samplers.ddim, 1), (samplers.heun, 2), (samplers.dpm_solver, 2)],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_each_sampler_converges_at_its_order(sampler, order):
    with jax.enable_x64(True):
        errors = [error_of(sampler, steps) for steps in (400, 800, 1600)]
    rates = np.log2(np.array(errors[:-1]) / errors[1:])
    np.testing.assert_allclose(rates, order, atol=0.15)


@pytest.mark.parametrize("name", ["ancestral", "ddim", "heun", "dpm_solver"])
def test_samples_have_the_mean_and_spread_of_the_data(name):
    count, schedule = 20_000, Karras()
    sigmas = jnp.append(schedule.sigma(jnp.linspace(1.0, 0.0, 200)), 0.0)

    def noise(step):
        return jax.random.normal(jax.random.fold_in(jax.random.key(0), step), (count, 1))

    run = jax.jit(lambda: getattr(samplers, name)(expected, sigmas[0] * noise(10_000), sigmas, noise))
    image = np.asarray(run().image)
    # Two standard errors of the samples, and for ancestral sampling what 200 steps of first order leave.
    np.testing.assert_allclose(image.mean(), MEAN, atol=0.008)
    np.testing.assert_allclose(image.std(), SPREAD, rtol=0.04)


def test_a_consistency_model_reaches_the_data_in_one_step_and_in_two():
    count = 20_000

    def end(image, sigma, guess):
        return flowed(image, sigma, 0.0)

    def noise(step):
        return jax.random.normal(jax.random.fold_in(jax.random.key(0), step), (count, 1))

    for sigmas in ([80.0, 0.0], [80.0, 0.8, 0.0]):
        image = np.asarray(samplers.consistency(end, 80.0 * noise(9), jnp.asarray(sigmas), noise).image)
        # The noisiest image holds a trace of the mean: 0.3 / 80 * 0.5.
        np.testing.assert_allclose((image.mean(), image.std()), (MEAN, SPREAD), atol=0.01)


@pytest.mark.parametrize("name", SAMPLERS)
def test_models_see_what_they_expected_before(name):
    """A denoiser that adds 1 to its last answer counts how often it was asked."""

    def count(image, sigma, guess):
        return guess + 1.0

    sigmas = jnp.array([2.0, 1.0, 0.5, 0.0])
    way = SAMPLERS[name](count, jnp.zeros((1, 1)), sigmas, lambda step: jnp.zeros((1, 1)))
    asked = [1, 3, 5] if name == "heun" else [1, 2, 3]
    np.testing.assert_array_equal(way.denoised.ravel(), asked)


def test_guidance_of_one_is_the_conditional_model_and_more_goes_further():
    image, sigma = jnp.ones((2, 1)), jnp.float32(1.0)
    conditional, plain = (lambda image, sigma, guess: image * 0.5), (lambda image, sigma, guess: image * 0.25)
    compiled = jax.jit(lambda scale: samplers.guided(conditional, plain, scale)(image, sigma, image))
    np.testing.assert_allclose([compiled(scale)[0, 0] for scale in (0.0, 1.0, 3.0)], [0.25, 0.5, 1.0])


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_gives_the_data_back(name):
    random = np.random.default_rng(0)
    data, noise = random.normal(size=(2, 50))
    sigma = np.geomspace(0.01, 50, 50)
    image = data + sigma * noise
    skip, out = TARGETS[name](jnp.asarray(sigma), 0.5)
    wanted = {
        "noise": noise,
        "data": data,
        "v": (noise - sigma * data) / np.sqrt(1 + sigma**2),
        "velocity": noise - data,
        "edm": (data - image * 0.25 / (sigma**2 + 0.25)) / (sigma * 0.5 / np.sqrt(sigma**2 + 0.25)),
    }[name]
    np.testing.assert_allclose(skip * image + out * wanted, data, rtol=1e-4, atol=1e-4)


def test_the_bound_of_gaussian_data_is_its_closed_form():
    """The way's part is a logarithm, the prior's a divergence, reading a pixel an integral over its noise."""
    count, schedule, spread = 400_000, Karras(), 0.25
    keys = jax.random.split(jax.random.key(0), 3)
    gray = jnp.clip(jnp.round((spread * jax.random.normal(keys[0], (count, 1)) + 1.0) * 127.5), 0, 255)
    data = gray / 127.5 - 1.0

    def denoise(image, sigma):
        return image * spread**2 / (spread**2 + sigma[:, None] ** 2)

    noise = jax.random.normal(keys[1], (2, count, 1))
    # The same share of every level, so that chance plays little part.
    quantile = jax.random.permutation(keys[2], (jnp.arange(count) + 0.5) / count)
    drawn = np.linspace(-8, 8, 4001)
    density = np.exp(-0.5 * drawn**2) / np.sum(np.exp(-0.5 * drawn**2))
    for least in (0.002, 0.0078):
        schedule = Karras(sigma_min=least)
        way = 0.5 * math.log((1 + (spread / least) ** 2) / (1 + (spread / schedule.sigma_max) ** 2))
        total = 1 + schedule.sigma_max**2
        prior = 0.5 * ((schedule.sigma_max**2 + spread**2) / total - 1 - math.log(schedule.sigma_max**2 / total))
        steps = np.arange(-16, 17) / 127.5 / least
        read = np.sum(density * np.log(np.exp(0.5 * drawn[:, None] ** 2 - 0.5 * (drawn[:, None] - steps) ** 2).sum(1)))
        bits = float(jnp.mean(variational_bound(denoise, schedule, data, noise, quantile)))
        np.testing.assert_allclose(bits, (prior + way + read) / math.log(2), atol=0.03)
    # Never below what a normal number's gray level tells, and near it where levels are as wide as the least noise.
    entropy = 0.5 * math.log2(2 * math.pi * math.e * (spread * 127.5) ** 2)
    assert entropy - 0.01 < bits < entropy + 0.25


def test_what_the_noisiest_image_says_is_a_divergence_of_normals():
    data, most = np.array([[0.5, -1.0]]), 3.0
    scale = 1 / math.sqrt(1 + most**2)
    mean, deviation = data * scale, most * scale
    by_hand = np.sum(0.5 * (deviation**2 + mean**2 - 1) - math.log(deviation))
    np.testing.assert_allclose(prior_kl(jnp.asarray(data), most), [by_hand], rtol=1e-5)


def test_published_sizes():
    def count(network, shape, label):
        made = jax.eval_shape(
            lambda: network.init(jax.random.key(0), jnp.zeros(shape), jnp.zeros(1), label, train=False)
        )
        return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(made))

    ddpm = count(DiffusionUNet(outputs=3), (1, 32, 32, 3), None)
    assert round(ddpm / 1e6, 1) == 35.7
    xl = count(DiT(outputs=8, classes=1000), (1, 32, 32, 4), jnp.zeros(1, jnp.int32))
    assert round(xl / 1e6) == 675


def test_wrong_arguments_are_told():
    unet = DiffusionUNet(outputs=1, channels=(8,), blocks=1, attention=(False,), groups=4)
    make = {"network": unet, "schedule": Karras(), "noise_levels": LogNormal()}
    for wrong, told in (
        ({"target": "nois"}, "did you mean 'noise'"),
        ({"weighting": "none"}, "weighting is 'none'"),
        ({"sampler": "hean"}, "did you mean 'heun'"),
        ({"steps": 0}, "steps=0"),
        ({"guidance": 2.0}, "needs a conditional network"),
        ({"interpolate": 1}, "interpolate=1 must be at least 2"),
        ({"inpaint": (0.5, 0.0, 0.5, 1.0)}, "inpaint=.*top < bottom"),
        ({"schedule": Karras(sigma_min=0.1)}, "at most 0.021, not 0.1"),
    ):
        with pytest.raises(UserError, match=told):
            Diffusion(**{**make, **wrong})
    with pytest.raises(ValueError, match="4 does not divide"):
        DiffusionUNet(outputs=1, channels=(8, 8), attention=(False, False), groups=4, patch=2).init(
            jax.random.key(0), jnp.zeros((1, 10, 12, 1)), jnp.zeros(1), train=False
        )


def test_what_is_filled_in_fits_what_is_known():
    """Two numbers, normal with a correlation of 0.9: the second one, given the first."""
    count, correlation = 4000, 0.9
    covariance = np.array([[1.0, correlation], [correlation, 1.0]])
    schedule = Karras(sigma_max=20.0)
    sigmas = jnp.append(schedule.sigma(jnp.linspace(1.0, 0.0, 60)), 0.0)

    def denoise(image, sigma, guess):
        return image @ jnp.linalg.solve(covariance + sigma**2 * np.eye(2), covariance)

    def noise(step):
        return jax.random.normal(jax.random.fold_in(jax.random.key(0), step), (count, 2))

    data, known = jnp.array([1.5, 99.0]), jnp.array([True, False])
    run = jax.jit(
        lambda rounds: samplers.inpaint(
            denoise, sigmas[0] * noise(100_000), sigmas, noise, data=data, known=known, resamplings=rounds
        ),
        static_argnums=0,
    )
    image = np.asarray(run(10).image)
    np.testing.assert_array_equal(image[:, 0], 1.5)
    np.testing.assert_allclose(image[:, 1].mean(), 1.5 * correlation, atol=0.05)
    np.testing.assert_allclose(image[:, 1].std(), math.sqrt(1 - correlation**2), rtol=0.08)
    # Without going back the two fit worse.
    assert abs(np.asarray(run(1).image)[:, 1].mean() - 1.5 * correlation) > 0.1


NETWORK = DiffusionUNet(outputs=1, channels=(8,), blocks=1, attention=(False,), groups=4)


def batch_of(count, size=8):
    return {
        "image": np.random.default_rng(0).integers(0, 256, (count, size, size, 1)).astype(np.uint8),
        "label": np.arange(count, dtype=np.int32) % 3,
        "index": np.arange(count, dtype=np.int32),
        "weight": np.ones(count, np.float32),
    }


def drawn(task, batch):
    """Parameters and variables whose network says something: it starts at zero."""
    params, variables = task.init(jax.random.key(0), batch)
    params, structure = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(params))
    return structure.unflatten(
        [leaf + 0.1 * jax.random.normal(key, leaf.shape) for leaf, key in zip(params, keys)]
    ), variables


def test_only_the_box_of_a_picture_is_filled_in():
    task = Diffusion(NETWORK, Karras(), LogNormal(), steps=3, inpaint=(0.25, 0.5, 0.75, 1.0))
    batch = batch_of(2)
    outputs = jax.jit(task.predict)(*drawn(task, batch), batch, jax.random.key(2))
    same = np.asarray(outputs["image"]) == batch["image"]
    inside = np.zeros((8, 8, 1), bool)
    inside[2:6, 4:8] = True
    assert same[:, ~inside].all()
    assert same[:, inside].mean() < 0.5
    assert task.presentation.framing == "crop"


def test_a_walk_ends_where_the_next_begins():
    batch = batch_of(8)
    made = []
    for walk in (0, 4):
        task = Diffusion(NETWORK, Karras(), LogNormal(), sampler="euler", steps=3, interpolate=walk)
        made.append(np.asarray(jax.jit(task.sample)(*drawn(task, batch), batch, jax.random.key(2))["image"], int))
    plain, walks = made
    np.testing.assert_array_equal(walks[[0, 4]], plain[[0, 4]])
    np.testing.assert_allclose(walks[3], walks[4], atol=1)
    steps = [np.abs(walks[number] - walks[number + 1]).mean() for number in range(3)]
    assert 0 < max(steps) < np.abs(walks[0] - walks[3]).mean()


def test_a_guess_changes_what_a_self_conditioned_network_says():
    task = Diffusion(NETWORK, Karras(), LogNormal(), self_condition=True, steps=2)
    batch = batch_of(2)
    params, _ = drawn(task, batch)
    assert params["denoiser"]["entry"]["kernel"].unbox().shape[2] == 2
    image, sigma = jnp.ones((2, 8, 8, 1)), jnp.ones(2)
    answers = [task.denoise(params, image, sigma, None, guess) for guess in (None, jnp.zeros_like(image), image)]
    np.testing.assert_array_equal(answers[0], answers[1])
    assert np.abs(answers[2] - answers[1]).max() > 1e-3


def test_the_teacher_goes_down_the_flow_at_second_order():
    image = MEAN + jnp.asarray([[1.7], [-0.4], [3.0]])
    with jax.enable_x64(True):
        errors = []
        for step in (0.1, 0.05, 0.025):
            high = jnp.asarray([2.0, 1.0, 0.5])
            below = heun_step(lambda x, sigma, guess: expected(x, sigma[:, None], guess), image, high, high - step)
            wanted = flowed(image, high[:, None], high[:, None] - step)
            errors.append(float(jnp.abs(below - wanted).max()))
    # One step of a method of second order errs by its third power.
    np.testing.assert_allclose(np.log2(np.array(errors[:-1]) / errors[1:]), 3, atol=0.2)


def test_a_student_that_is_its_teacher_far_from_noise_has_little_to_learn():
    """With levels close together the student's two answers are those of one smooth function."""
    batch, losses = batch_of(4), []
    for levels in (5, 200):
        task = ConsistencyDistillation(NETWORK, Karras(sigma_min=0.1, sigma_max=1.0), levels=levels)
        params, variables = task.init(jax.random.key(0), batch)
        outcome = jax.jit(task.phases[0].loss)(params, variables, batch, jax.random.key(1), jnp.int32(0), {})
        losses.append(float(outcome.terms["distance"].sum) * (0.9 / (levels - 1)))  # back to a distance, roughly
    assert losses[1] < 0.1 * losses[0]
    assert params.keys() == {"denoiser", "teacher"}
    with pytest.raises(UserError, match="levels=1"):
        ConsistencyDistillation(NETWORK, Karras(), levels=1)
    far = pseudo_huber(jnp.full((1, 100), 3.0))
    np.testing.assert_allclose(far, 30.0, rtol=1e-3)


def test_an_edited_picture_keeps_to_the_given_one():
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
        params, variables = task.init(jax.random.key(0), batch)
        outputs = jax.jit(task.predict)(params, variables, batch, jax.random.key(1))
        assert ("label" in outputs) == (edit == 0)
        differences.append(np.abs(outputs["image"].astype(float) - batch["image"]).mean())
    assert differences[1] < 12 < differences[2] < differences[0] + 1
    with pytest.raises(UserError, match="edit=2"):
        Diffusion(network, Karras(), LogNormal(), edit=2)
