"""GANs: terms against numpy, trained parameters per phase, metrics, sampling command."""

# The results of flax's init and apply, and a task's optional methods, are not typed.
# pyright: reportArgumentType=false, reportCallIssue=false

import functools
import itertools
import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from modules import random_weights

from jaxdl.commands import train
from jaxdl.commands.cli import main
from jaxdl.config.experiment import Experiment
from jaxdl.data.dataset import Data
from jaxdl.data.synthetic.images import MockImages
from jaxdl.errors import UserError
from jaxdl.models.convnet import ConvNet
from jaxdl.models.gan import DCGANDiscriminator, DCGANGenerator, ResNetDiscriminator
from jaxdl.models.layers.norms import batch_norm
from jaxdl.tasks.image_generation import ImageGeneration
from jaxdl.tasks.parts.fid import FIDClassifier
from jaxdl.tasks.parts.latent_walks import slerp
from jaxdl.testing.laws import Bench, law_accumulation, law_pmap
from jaxdl.training.state import init_state
from jaxdl.training.step import make_train_step

SHAPE = (4, 4, 1)


class LinearGenerator(nn.Module):
    """Linear map and tanh; the label shifts it."""

    @nn.compact
    def __call__(self, latent, label=None, *, train):
        shift = 0.0 if label is None else 0.1 * label[:, None]
        return jnp.tanh(nn.Dense(16)(latent) + shift).reshape(-1, *SHAPE)


class LinearCritic(nn.Module):
    """Linear logit."""

    @nn.compact
    def __call__(self, image, label=None, *, train):
        return nn.Dense(1)(image.reshape(len(image), -1))[:, 0]


FID_CLASSIFIER = FIDClassifier(ConvNet(num_classes=3, channels=(4,)))


class NormalizedCritic(nn.Module):
    @nn.compact
    def __call__(self, image, *, train):
        features = nn.BatchNorm(use_running_average=not train)(image.reshape(image.shape[0], -1))
        return nn.Dense(1)(features)[:, 0]


def make_batch(size=6, seed=0):
    random = np.random.default_rng(seed)
    return {
        "image": random.integers(0, 256, (size, *SHAPE), dtype=np.uint8),
        "label": (np.arange(size) % 3).astype(np.int32),
        "weight": np.ones(size, np.float32),
        "index": np.arange(size),
    }


def start(task, batch):
    return random_weights(task.init, batch)


@functools.partial(jax.jit, static_argnums=0)
def losses(task, params, variables, batch, key):
    return [phase.loss(params, variables, batch, key, 0, {}) for phase in task.phases]


def image_of(latent, params, label=0.0):
    dense = params["generator"]["Dense_0"]
    return np.tanh(latent @ np.asarray(dense["kernel"]) + np.asarray(dense["bias"]) + label)


def logit_of(flat, params):
    dense = params["discriminator"]["Dense_0"]
    return (flat @ np.asarray(dense["kernel"]) + np.asarray(dense["bias"]))[:, 0]


def latents_of(key, index, count=8):
    """Computes the latents of the task, one example at a time."""
    key = jax.random.fold_in(key, 0)
    draw = jax.jit(lambda number: jax.random.normal(jax.random.fold_in(key, number), (count,)))
    return np.stack([draw(number) for number in index])


def test_terms_of_both_phases_match_numpy():
    task = ImageGeneration(LinearGenerator(), LinearCritic(), loss="hinge", penalty="r1", penalty_weight=3.0, latents=8)
    batch = make_batch()
    batch["weight"] = np.array([1, 1, 0.5, 2, 1, 0], np.float32)
    params, variables = start(task, batch)
    key = jax.random.key(5)
    critic, maker = losses(task, params, variables, batch, key)

    generated = image_of(latents_of(key, batch["index"]), params)
    real = logit_of(batch["image"].reshape(6, -1) / 127.5 - 1, params)
    fake = logit_of(generated, params)
    hinge = (batch["weight"] * (np.maximum(0, 1 - real) + np.maximum(0, 1 + fake))).sum()
    np.testing.assert_allclose(critic.terms["adversarial"][:2], (hinge, 5.5), rtol=1e-4)
    slope = 0.5 * np.sum(np.square(params["discriminator"]["Dense_0"]["kernel"]))
    np.testing.assert_allclose(critic.terms["penalty"], (5.5 * slope, 5.5, 3.0), rtol=1e-4)
    np.testing.assert_allclose(maker.terms["adversarial"][:2], (-(batch["weight"] * fake).sum(), 5.5), rtol=1e-3)
    np.testing.assert_allclose(critic.metrics["real_accuracy"][0], (batch["weight"] * (real > 0)).sum())
    np.testing.assert_allclose(critic.metrics["fake_accuracy"][0], (batch["weight"] * (fake < 0)).sum())
    assert set(critic.metrics) == {"real_accuracy", "fake_accuracy", "real_logit", "fake_logit"}
    assert set(maker.terms) == {"adversarial"}


def test_a_lazy_penalty_is_a_phase_with_a_multiplied_coefficient():
    task = ImageGeneration(
        LinearGenerator(), LinearCritic(), penalty="gradient", penalty_weight=10.0, penalty_every=4, latents=8
    )
    assert [(phase.name, phase.trains, phase.every) for phase in task.phases] == [
        ("discriminator", "discriminator", 1),
        ("penalty", "discriminator", 4),
        ("generator", "generator", 1),
    ]
    batch = make_batch()
    params, variables = start(task, batch)
    outcome, lazy, _ = losses(task, params, variables, batch, jax.random.key(1))
    norm = np.linalg.norm(params["discriminator"]["Dense_0"]["kernel"])
    assert set(outcome.terms) == {"adversarial"}
    np.testing.assert_allclose(lazy.terms["penalty"], (6 * (norm - 1) ** 2, 6, 40.0), rtol=1e-4)


def test_a_conditional_generator_uses_the_labels_of_the_batch():
    task = ImageGeneration(LinearGenerator(), LinearCritic(), classes=3, latents=8)
    batch = make_batch()
    params, variables = start(task, batch)
    key = jax.random.key(2)
    outputs = jax.jit(task.predict)(params, variables, batch, key)
    generated = image_of(latents_of(key, batch["index"]), params, 0.1 * batch["label"][:, None])
    np.testing.assert_allclose(outputs["image"].reshape(6, -1), (generated + 1) * 127.5, atol=0.51)
    np.testing.assert_array_equal(outputs["label"], batch["label"])


@functools.cache
def trained_steps(critic_steps=3, steps=5):
    """Trains a task with batch and spectral normalization and FID; returns states and reports."""
    generator = DCGANGenerator(outputs=1, size=2, channels=(4,))
    discriminator = ResNetDiscriminator(channels=(4,), halvings=1)
    task = ImageGeneration(
        generator, discriminator, loss="hinge", critic_steps=critic_steps, latents=4, fid_classifier=FID_CLASSIFIER
    )
    optimizers = {phase.name: optax.adam(1e-2) for phase in task.phases}
    batch = make_batch(8)
    step = jax.jit(make_train_step(task, optimizers, ema=0.9))
    state = nn.unbox(jax.jit(lambda batch: init_state(task, optimizers, 0.9, jnp.int32(0), batch))(batch))
    states, reports = [state], []
    for _ in range(steps):
        state, report = step(state, batch)
        states.append(state)
        reports.append(jax.device_get(report))
    return states, reports


def differs(one, two):
    return any(not np.array_equal(a, b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two)))


def moved(states, of):
    return [differs(of(previous), of(current)) for previous, current in itertools.pairwise(states)]


def test_the_generator_changes_in_its_phase_only_and_the_fid_classifier_never():
    states, reports = trained_steps()
    assert moved(states, lambda state: state.params["discriminator"]) == [True] * 5
    assert moved(states, lambda state: state.params["generator"]) == [True, False, False, True, False]
    assert moved(states, lambda state: state.opt_state["generator"]) == [True, False, False, True, False]
    assert moved(states, lambda state: state.variables["generator"]["batch_stats"]) == [True, False, False, True, False]
    assert (
        moved(states, lambda state: (state.params["fid_classifier"], state.variables["fid_classifier"])) == [False] * 5
    )
    assert [bool(report.ran["generator"]) for report in reports] == [True, False, False, True, False]


def test_spectral_normalization_is_updated_once_per_step():
    states, _ = trained_steps()
    assert moved(states, lambda state: state.variables["discriminator"]["spectral"]) == [True] * 5
    assert [int(state.variables["spectral_step"]) for state in states] == [-1, 0, 1, 2, 3, 4]
    discriminator = ResNetDiscriminator(channels=(4,), halvings=1)
    task = ImageGeneration(DCGANGenerator(outputs=1, size=2, channels=(4,)), discriminator, latents=4)
    batch = make_batch(8)
    params, variables = start(task, batch)
    critic, maker = (jax.jit(lambda *inputs, phase=phase: phase.loss(*inputs).variables) for phase in task.phases)
    updated = critic(params, variables, batch, jax.random.key(0), 7, {})
    assert differs(updated["discriminator"], variables["discriminator"])
    repeated = critic(params, updated, batch, jax.random.key(0), 7, {})  # another micro-batch of the same step
    assert not differs(repeated["discriminator"], updated["discriminator"])
    assert differs(critic(params, updated, batch, jax.random.key(0), 8, {})["discriminator"], updated["discriminator"])
    assert not differs(
        maker(params, updated, batch, jax.random.key(0), 8, {})["discriminator"], updated["discriminator"]
    )


@functools.cache
def lazy_bench():
    """Bench of a GAN with spectral norm, lazy penalty and critic steps, not batch-coupled."""
    task = ImageGeneration(
        LinearGenerator(), ResNetDiscriminator(channels=(4,), halvings=1), loss="wasserstein", penalty="gradient",
        penalty_every=2, critic_steps=5, latents=8,
    )  # fmt: skip
    optimizers = {"discriminator": optax.sgd(1e-2), "penalty": optax.sgd(1e-3), "generator": optax.sgd(1e-2)}
    data = Data(train=MockImages(shape=SHAPE, examples=40), evals={}, batch_size=16)
    return Bench(Experiment(task=task, data=data, optimizers=optimizers, steps=6, ema=0.9))


def test_micro_batches_of_a_gan_with_lazy_phases_equal_one_batch():
    law_accumulation(lazy_bench(), steps=6)


def test_pmap_of_a_gan_with_lazy_phases_equals_jit():
    law_pmap(lazy_bench(), steps=6)


def spread(images, labels):
    """Computes the mean squared distance of two images of one class, over all pairs."""
    flat = images.reshape(len(images), -1)
    distances = np.square(flat[:, None] - flat[None]).sum(-1)
    same_class = labels[:, None] == labels[None]
    return np.mean([distances[i][same_class[i]].mean() for i in range(len(flat))])


@pytest.mark.parametrize("classes", [0, 3])
def test_diversity_is_the_mean_distance_of_pairs_without_padding(classes):
    task = ImageGeneration(LinearGenerator(), LinearCritic(), classes=classes, latents=8)
    batch = make_batch(12)
    params, variables = start(task, batch)
    key = jax.random.key(3)
    labels = batch["label"] if classes else np.zeros(12)
    generated = image_of(latents_of(key, batch["index"]), params, 0.1 * batch["label"][:, None] if classes else 0.0)
    expected = np.sqrt(spread(generated, labels) / spread(batch["image"] / 127.5 - 1, labels))

    padded = {name: np.concatenate([value, value[:5]]) for name, value in batch.items()}
    padded["weight"][12:] = 0
    metrics = jax.device_get(jax.jit(task.evaluate)(params, variables, padded, key).metrics)
    scores = task.score({}, {name: total / weight for name, (total, weight) in metrics.items()}, {})
    np.testing.assert_allclose(scores["diversity"], expected, rtol=1e-4)


def test_mode_collapse_is_reported(caplog):
    task = ImageGeneration(LinearGenerator(), LinearCritic(), latents=8, fid_classifier=FID_CLASSIFIER)
    batch = make_batch(30)
    params, variables = start(task, batch)
    evaluate = jax.jit(task.evaluate)
    for scale, collapsed in ((1.0, 0.0), (1e-3, 1.0)):
        dense = params["generator"]["Dense_0"]
        narrow = {**params, "generator": {"Dense_0": {**dense, "kernel": scale * dense["kernel"]}}}
        evaluation = jax.device_get(evaluate(narrow, variables, batch, jax.random.key(0)))
        metrics = {name: total / weight for name, (total, weight) in evaluation.metrics.items()}
        with caplog.at_level("WARNING", logger="absl"):
            scores = task.score(evaluation.records, metrics, {})
        assert scores["collapsed"] == collapsed
        assert ("mode collapse" in caplog.text) == bool(collapsed)
        assert {"fid", "fid_floor", "classes", "precision"} <= set(scores)
    assert scores["diversity"] < 0.01


def test_a_sample_depends_on_the_key_but_not_on_the_batch():
    task = ImageGeneration(LinearGenerator(), LinearCritic(), latents=8)
    batch = make_batch(6)
    params, variables = start(task, batch)
    index = {"index": batch["index"]}
    sample = jax.jit(task.sample)
    samples = sample(params, variables, index, jax.random.key(0))["image"]
    part = sample(params, variables, {"index": batch["index"][4:]}, jax.random.key(0))["image"]
    np.testing.assert_array_equal(part, samples[4:])
    assert np.any(sample(params, variables, index, jax.random.key(1))["image"] != samples)
    path = np.asarray(jax.jit(task.predict)(params, variables, batch, jax.random.key(0))["path"])
    np.testing.assert_array_equal(path[:, 0], samples)
    assert np.all(np.any(path[:, 0] != path[:, -1], axis=(1, 2, 3)))


def test_slerp_preserves_the_norm():
    start, end = np.eye(3)[None, 0], np.eye(3)[None, 1]
    np.testing.assert_allclose(slerp(start, end, 0.0), start, atol=1e-6)
    np.testing.assert_allclose(slerp(start, end, 1.0), end, atol=1e-6)
    np.testing.assert_allclose(slerp(start, end, 0.5), (start + end) / np.sqrt(2), atol=1e-6)
    np.testing.assert_allclose(slerp(start, start, 0.5), start, atol=1e-2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"loss": "hing"}, "loss='hing': did you mean 'hinge'"),
        ({"penalty": "r2"}, "penalty='r2': did you mean 'r1'"),
        ({"penalty_weight": -1.0}, "penalty_weight=-1.0"),
        ({"penalty_every": 0}, "penalty_every=0 must be at least 1"),
        ({"critic_steps": 0}, "critic_steps=0"),
        ({"latents": 0}, "latents=0"),
    ],
)
def test_invalid_arguments_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        ImageGeneration(LinearGenerator(), LinearCritic(), **arguments)


def test_batch_normalization_couples_examples_and_excludes_a_penalty():
    generator = DCGANGenerator(outputs=1, size=2, channels=(4,))
    critic = DCGANDiscriminator(channels=(4, 4), norm=batch_norm)
    assert "batch normalization" in ImageGeneration(generator, DCGANDiscriminator()).batch_statistics
    assert "batch normalization" in ImageGeneration(LinearGenerator(), critic).batch_statistics
    assert ImageGeneration(LinearGenerator(), DCGANDiscriminator()).batch_statistics == ""
    for discriminator in (critic, NormalizedCritic()):
        task = ImageGeneration(LinearGenerator(), discriminator, latents=4, penalty="r1")
        with pytest.raises(UserError, match="needs a discriminator without batch normalization"):
            jax.eval_shape(task.init, jax.random.key(0), make_batch())


def test_generators_with_another_image_size_are_refused():
    task = ImageGeneration(DCGANGenerator(outputs=3, size=2, channels=(4,)), LinearCritic(), latents=4)
    with pytest.raises(UserError, match=r"the generator outputs images \(4, 4, 3\), but the data's are \(4, 4, 1\)"):
        random_weights(task.init, make_batch())


@pytest.mark.parametrize("classes", [0, 3])
def test_pictures_show_samples(classes):
    task = ImageGeneration(LinearGenerator(), LinearCritic(), classes=classes, latents=8)
    batch = make_batch(8)
    params, variables = start(task, batch)
    outputs = jax.device_get(jax.jit(task.predict)(params, variables, batch, jax.random.key(0)))
    pictures = task.presentation.pictures(batch, outputs, {}, {"label": ("cat", "dog", "eel")})
    assert set(pictures) == {"samples", "paths"}
    for picture in pictures.values():
        assert picture.dtype == np.uint8
        assert picture.shape[2] == 3
        assert len(np.unique(picture)) > 20


RECIPE = '''"""A GAN outside experiments/."""

import optax
from fiddle.experimental.auto_config import auto_config

from jaxdl.data.dataset import Data
from jaxdl.data.synthetic.images import MockImages
from jaxdl.config.experiment import Experiment
from jaxdl.models.gan import ResNetDiscriminator, ResNetGenerator
from jaxdl.tasks.image_generation import ImageGeneration


@auto_config
def experiment(steps: int = 1, classes: int = 3) -> Experiment:
    return Experiment(
        task=ImageGeneration(
            ResNetGenerator(outputs=1, size=8, channels=(8, 8), classes=classes),
            ResNetDiscriminator(channels=(4,), classes=classes),
            latents=4,
            classes=classes,
        ),
        data=Data(train=MockImages(shape=(16, 16, 1), classes=3, examples=8), evals={}, batch_size=8),
        optimizers={"discriminator": optax.adam(1e-3), "generator": optax.adam(1e-3)},
        steps=steps,
    )
'''


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("samples")
    (folder / "sampled_gan.py").write_text(RECIPE)
    train.run(str(folder / "sampled_gan.py"), [], str(folder / "run"))
    return folder / "run"


def command(*arguments):
    return main([*map(str, arguments)])


def test_predict_samples_with_a_seed(run, tmp_path, capsys):
    assert command("predict", run, "--samples=11", "--format=json", f"--pictures={tmp_path}") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["sample"] for row in rows] == list(range(11))
    assert [row["label"] for row in rows] == [f"class {number % 3}" for number in range(11)]
    assert {path.name for path in tmp_path.iterdir()} == {"samples.png", *(f"sample_{n:04}.png" for n in range(11))}
    expected = (tmp_path / "sample_0004.png").read_bytes()
    assert command("predict", run, "--samples=5", f"--pictures={tmp_path / 'again'}") == 0
    assert (tmp_path / "again" / "sample_0004.png").read_bytes() == expected
    assert command("predict", run, "--samples=5", "--seed=1", f"--pictures={tmp_path / 'other'}") == 0
    assert (tmp_path / "other" / "sample_0004.png").read_bytes() != expected


def test_predict_samples_of_a_class(run, tmp_path, capsys):
    assert command("predict", run, "--samples=2", "--label=class 2", "--format=json", f"--pictures={tmp_path}") == 0
    assert [json.loads(line)["label"] for line in capsys.readouterr().out.splitlines()] == ["class 2"] * 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--samples=2", "--label=clas 2"), "has no class 'clas 2'; did you mean 'class 2'"),
        (("--samples=2", "--label=3"), "has no class '3'"),
        (("photo.png",), "does not take images; it is an unconditional generator, use --samples=16"),
        (("--samples=2", "photo.png"), "'photo.png' is not expected; usage: jaxdl predict RUN FILE"),
        (("--seed=2", "photo.png"), "--seed and --label need --samples"),
    ],
)
def test_usage_errors_of_samples_are_one_line(run, arguments, message, capsys):
    assert command("predict", run, *arguments) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "\n" not in error
