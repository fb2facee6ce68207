"""Image translation: losses against numpy, image pool against Python, evaluation on pairs."""

import functools
import random

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdl
from jaxdl.config.experiment import build
from jaxdl.config.recipes import load_recipe
from jaxdl.errors import UserError
from jaxdl.models.cyclegan import PatchDiscriminator, StyleGenerator
from jaxdl.models.layers.norms import batch_norm
from jaxdl.tasks.image_translation import ImageTranslation
from jaxdl.tasks.parts.image_pool import update_pool
from jaxdl.testing import tiny
from jaxdl.viz.translation import image_table

BATCH, SIDE, POOL = 4, 6, 3
# scale and shift of each network: linear translations have losses in closed form
NETWORKS = {
    "generators": {"ab": (0.5, 0.25), "ba": (1.5, -0.125)},
    "discriminators": {"a": (2.0, 0.5), "b": (-1.0, 0.25)},
}


class Affine(nn.Module):
    """Computes image * scale + shift."""

    @nn.compact
    def __call__(self, image, *, train):
        del train
        return image * self.param("scale", nn.initializers.ones, ()) + self.param("shift", nn.initializers.zeros, ())


def params():
    return {
        group: {
            name: {"scale": jnp.float32(coefficients[0]), "shift": jnp.float32(coefficients[1])}
            for name, coefficients in networks.items()
        }
        for group, networks in NETWORKS.items()
    }


def batch(seed=0, rows=BATCH, side=SIDE):
    draws = np.random.default_rng(seed)
    images = draws.integers(0, 256, (2, rows, side, side, 3), dtype=np.uint8)
    return {
        "image_a": images[0],
        "image_b": images[1],
        "weight": np.array([1, 0.5, 1, 0][:rows], np.float32),
        "index": np.arange(rows, dtype=np.int32),
    }


@functools.cache
def task(**options):
    return ImageTranslation(Affine(), Affine(), **{"pool": POOL, "perceptual": None, **options})


def outcome(translation, phase, inputs, carry=None):
    """Returns a phase's outcome for a batch, by default with the task's initial carry."""
    loss = translation.phases[phase].loss
    carry = translation.carry(inputs) if carry is None else carry
    return jax.jit(lambda batch, carry: loss(params(), {"kept": 1.0}, batch, jax.random.key(3), 0, carry))(
        inputs, carry
    )


def by_hand(network, image):
    scale, shift = NETWORKS["generators" if len(network) == 2 else "discriminators"][network]
    return image * scale + shift


def scaled(inputs):
    return [inputs[name].astype(np.float64) / 127.5 - 1 for name in ("image_a", "image_b")]


def weighted(inputs, values):
    return np.sum(inputs["weight"] * values.reshape(len(values), -1).mean(1)) / inputs["weight"].sum()


def test_generator_losses_match_the_paper():
    inputs, (a, b) = batch(), scaled(batch())
    ab, ba = (functools.partial(by_hand, name) for name in ("ab", "ba"))
    expected = {
        "adversarial_ab": (np.square(by_hand("b", ab(a)) - 1), 1),
        "adversarial_ba": (np.square(by_hand("a", ba(b)) - 1), 1),
        "cycle_a": (np.abs(ba(ab(a)) - a), 10),
        "cycle_b": (np.abs(ab(ba(b)) - b), 10),
        "identity_a": (np.abs(ba(a) - a), 5),
        "identity_b": (np.abs(ab(b) - b), 5),
    }
    result = outcome(task(), 0, inputs)
    assert set(result.terms) == set(expected)
    for name, (values, coefficient) in expected.items():
        term = result.terms[name]
        np.testing.assert_allclose(term.sum / term.weight, weighted(inputs, values), rtol=1e-5, err_msg=name)
        assert float(term.coefficient) == coefficient
    assert result.variables == {"kept": 1.0}


def test_identity_0_omits_the_identity_terms_only():
    inputs = batch()
    complete, without = outcome(task(), 0, inputs), outcome(task(identity=0.0), 0, inputs)
    assert set(complete.terms) - set(without.terms) == {"identity_a", "identity_b"}
    for name, term in without.terms.items():
        np.testing.assert_allclose(term.sum, complete.terms[name].sum, rtol=1e-6)


def test_discriminators_are_trained_on_real_images_and_pools():
    inputs = batch()
    pooled = {name: batch(seed)["image_a"].astype(np.float32) / 127.5 - 1 for name, seed in (("a", 1), ("b", 2))}
    carry = task().carry(inputs)
    carry = {name: {**carry[name], "shown": pooled[name]} for name in carry}
    result = outcome(task(), 1, inputs, carry)
    for name, image in zip(("a", "b"), scaled(inputs)):
        real, fake = result.terms[f"real_{name}"], result.terms[f"fake_{name}"]
        judged = by_hand(name, image), by_hand(name, pooled[name].astype(np.float64))
        np.testing.assert_allclose(real.sum / real.weight, weighted(inputs, np.square(judged[0] - 1)), rtol=1e-5)
        np.testing.assert_allclose(fake.sum / fake.weight, weighted(inputs, np.square(judged[1])), rtol=1e-5)
        assert float(real.coefficient) == float(fake.coefficient) == 0.5
        right, weight = result.metrics[f"fake_{name}_accuracy"]
        np.testing.assert_allclose(right / weight, weighted(inputs, judged[1] < 0.5), rtol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, result.carry, carry)


def test_penalty_is_r1_of_the_mean_logit():
    """The mean of n logits scale * pixel + shift has the gradient scale / n, n times."""
    terms = outcome(task(penalty=2.0), 1, batch()).terms
    for name, (scale, _) in NETWORKS["discriminators"].items():
        term = terms[f"r1_{name}"]
        np.testing.assert_allclose(term.sum / term.weight, 0.5 * scale**2 / (SIDE * SIDE * 3), rtol=1e-5)
        assert float(term.coefficient) == 2.0


def test_generated_images_enter_the_pools_of_both_styles():
    inputs, (a, b) = batch(), scaled(batch())
    carry = outcome(task(), 0, inputs).carry
    for name, translated in (("a", by_hand("ba", b)), ("b", by_hand("ab", a))):
        np.testing.assert_allclose(carry[name]["shown"], translated, atol=1e-6)
        np.testing.assert_allclose(carry[name]["pool"][:, 0], translated, atol=1e-6)
        assert not np.any(carry[name]["pool"][:, 1:])
        np.testing.assert_array_equal(carry[name]["filled"], 1)


@pytest.mark.parametrize("pool", [0, POOL])
def test_carry_preserves_its_shapes_with_the_batch_axis_first(pool):
    translation = task(pool=pool)
    before = translation.carry(batch())
    after = outcome(translation, 0, batch()).carry
    assert jax.tree.map(jnp.shape, before) == jax.tree.map(jnp.shape, after)
    assert all(leaf.shape[0] == BATCH for leaf in jax.tree.leaves(before))
    assert before["a"].get("pool", np.zeros((BATCH, 0))).shape[1] == pool


class PlainPool:
    """Image pool of one row, as in the code of the paper."""

    def __init__(self, places):
        self.places, self.images = places, []

    def show(self, image, place, swapped):
        if len(self.images) < self.places:
            self.images.append(image)
            return image
        if not swapped:
            return image
        old, self.images[place] = self.images[place], image
        return old


def test_pools_match_a_plain_python_pool_per_row():
    draws, step = random.Random(0), jax.jit(update_pool)
    state = {
        "shown": jnp.zeros((BATCH, 2, 2, 1)),
        "pool": jnp.zeros((BATCH, POOL, 2, 2, 1)),
        "filled": jnp.zeros(BATCH, jnp.int32),
    }
    plain, kinds = [PlainPool(POOL) for _ in range(BATCH)], set()
    for number in range(40):
        numbers = [100.0 * row + number for row in range(BATCH)]  # encodes row and step of every image
        uniform = np.array([[draws.random(), draws.random()] for _ in range(BATCH)], np.float32)
        state = step(state, jnp.broadcast_to(jnp.array(numbers)[:, None, None, None], (BATCH, 2, 2, 1)), uniform)
        for row, (pool, image) in enumerate(zip(plain, numbers)):
            expected = pool.show(image, int(uniform[row, 0] * POOL), uniform[row, 1] < 0.5)
            kinds.add(expected == image)
            np.testing.assert_array_equal(state["shown"][row], expected)
            held = np.asarray(state["pool"])[row, : len(pool.images), 0, 0, 0]
            np.testing.assert_array_equal(held, pool.images)
            assert np.all(held // 100 == row)
    assert kinds == {True, False}
    assert max(max(pool.images) - 100 * row for row, pool in enumerate(plain)) > 20  # images are still replaced


def test_pool_draws_are_per_example():
    """Permuted rows return and store the same images."""
    inputs = batch()
    carry = jax.tree.map(
        lambda leaf: jnp.asarray(np.random.default_rng(5).normal(size=leaf.shape), leaf.dtype), task().carry(inputs)
    )
    carry = {name: {**pool, "filled": jnp.full(BATCH, POOL)} for name, pool in carry.items()}
    order = np.array([2, 0, 3, 1])
    turned = {name: value[order] for name, value in inputs.items()}
    first = outcome(task(), 0, inputs, carry).carry
    second = outcome(task(), 0, turned, jax.tree.map(lambda leaf: leaf[order], carry)).carry
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(x[order], y), first, second)


def test_evaluation_compares_true_pairs():
    inputs = batch()
    evaluation = task().evaluate(params(), {}, inputs, jax.random.key(0))
    assert evaluation.records == {}
    a, b = ((image + 1) / 2 for image in scaled(inputs))
    ab, ba = (np.clip((by_hand(name, image) + 1) / 2, 0, 1) for name, image in zip(("ab", "ba"), scaled(inputs)))
    for name, pair in {"ab": (ab, b), "ba": (ba, a), "identity": (a, b)}.items():
        total, weight = evaluation.metrics[f"mae_{name}"]
        np.testing.assert_allclose(total / weight, weighted(inputs, np.abs(pair[0] - pair[1])), rtol=1e-5)


def test_scores_are_distances_from_the_true_pair():
    translation = task(perceptual="alexnet")
    draws = np.random.default_rng(0)
    a, b = draws.uniform(size=(2, 3, 32, 32, 3)).astype(np.float32)
    errors = {"mae_ab": 0.1, "mae_ba": 0.2, "mae_identity": 0.4}
    perfect = translation.score({"a": a, "b": b, "ab": b, "ba": a}, errors, {})
    assert perfect["lpips_ab"] == pytest.approx(0, abs=1e-6)
    assert perfect["relative_lpips"] == pytest.approx(0, abs=1e-6)
    assert perfect["lpips_identity"] > 0.01
    scores = translation.score({"a": a, "b": b, "ab": a, "ba": b}, errors, {})
    assert scores["relative_lpips"] == pytest.approx(1, rel=1e-4)
    assert scores["lpips_ab"] == pytest.approx(scores["lpips_identity"], rel=1e-4)


def test_relative_mae_is_that_of_both_directions_over_the_identity():
    errors = {"mae_ab": 0.1, "mae_ba": 0.2, "mae_identity": 0.4}
    assert task().score({}, errors, {}) == {"relative_mae": pytest.approx(0.15 / 0.4)}
    assert task().score({}, dict.fromkeys(errors, 0.0), {}) == {"relative_mae": 1.0}


def test_paired_terms_compare_translations_with_their_counterparts():
    inputs = batch()
    without, terms = (outcome(task(**options), 0, inputs).terms for options in ({}, {"paired": 100.0}))
    assert set(terms) == {*without, "paired_ab", "paired_ba"}
    a, b = scaled(inputs)
    for name, source, target in (("ab", a, b), ("ba", b, a)):
        total, weight, coefficient = terms[f"paired_{name}"]
        assert coefficient == 100.0
        np.testing.assert_allclose(total / weight, weighted(inputs, np.abs(by_hand(name, source) - target)), rtol=1e-5)


def test_predictions_include_cycles():
    inputs, (a, _) = batch(), scaled(batch())
    outputs = task().predict(params(), {}, inputs, jax.random.key(0))
    assert {name: (value.shape, value.dtype.name) for name, value in outputs.items()} == dict.fromkeys(
        ("ab", "ba", "aba", "bab"), ((BATCH, SIDE, SIDE, 3), "uint8")
    )
    expected = np.rint((by_hand("ab", a) + 1) * 127.5)
    np.testing.assert_allclose(outputs["ab"], expected, atol=1)
    np.testing.assert_allclose(
        outputs["aba"], np.clip(np.rint((by_hand("ba", by_hand("ab", a)) + 1) * 127.5), 0, 255), atol=1
    )


def test_directions_and_styles_have_separate_networks():
    translation = ImageTranslation(
        StyleGenerator(width=2, blocks=0, levels=0, size=1), PatchDiscriminator(channels=(2,)), perceptual=None
    )
    params, variables = jax.jit(lambda key: nn.unbox(translation.init(key, batch())))(jax.random.key(0))
    assert variables == {}
    assert {group: set(networks) for group, networks in params.items()} == {
        "generators": {"ab", "ba"},
        "discriminators": {"a", "b"},
    }
    kernels = [params["generators"][name]["exit"]["kernel"] for name in ("ab", "ba")]
    assert np.any(kernels[0] != kernels[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cycle": -1.0}, "cycle=-1.0 must be at least 0"),
        ({"pool": -1}, "pool=-1"),
        ({"direction": "back"}, "direction='back'"),
        ({"loss": "absolute"}, "loss='absolute'"),
        ({"perceptual": "resnet"}, "no network 'resnet'"),
    ],
)
def test_arguments_out_of_range_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        ImageTranslation(Affine(), Affine(), **options)


def test_networks_with_batch_statistics_are_refused():
    translation = ImageTranslation(
        StyleGenerator(width=2, blocks=0, levels=0, size=1, norm=batch_norm), Affine(), perceptual=None
    )
    with pytest.raises(UserError, match="StyleGenerator has the variables batch_stats"):
        jax.eval_shape(lambda key: translation.init(key, batch()), jax.random.key(0))


def test_styles_of_unequal_sizes_are_refused():
    inputs = batch() | {"image_b": batch(side=4)["image_b"]}
    with pytest.raises(UserError, match="image_b"):
        task().init(jax.random.key(0), inputs)


def plain_images(*shades):
    return np.stack([np.full((8, 8, 3), shade, np.uint8) for shade in shades])


def test_tables_arrange_images_by_row_and_column():
    picture = image_table({"one": plain_images(10, 60), "two": plain_images(110, 160)}, size=50)
    places = {shade: np.argwhere(np.all(picture == shade, -1)).mean(0) for shade in (10, 60, 110, 160)}
    assert places[10][0] == places[110][0] < places[60][0] == places[160][0]
    assert places[10][1] == places[60][1] < places[110][1] == places[160][1]
    assert all((np.all(picture == shade, -1)).sum() >= 49 * 49 for shade in places)
    with pytest.raises(ValueError, match="rows"):
        image_table({"one": plain_images(10), "two": plain_images(10, 60)})


def test_picture_shows_the_chosen_direction():
    example = {"image_a": plain_images(20)[0], "image_b": plain_images(40)[0]}
    outputs = {"ab": plain_images(90)[0], "ba": plain_images(130)[0]}
    for direction, shades in (("ab", {20, 90}), ("ba", {40, 130})):
        picture = task(direction=direction).presentation.picture(example, outputs, {"style": ("google", "twitter")})
        assert {shade for shade in (20, 40, 90, 130) if np.all(picture == shade, -1).sum() > 1000} == shades


def test_padding_is_not_in_pictures():
    names = ("image_a", "image_b", "ab", "ba", "aba", "bab")
    shades = dict(zip(names, (20, 40, 60, 80, 100, 120)))
    images = {name: plain_images(shade, shade + 5) for name, shade in shades.items()}
    inputs = {name: images[name] for name in names[:2]} | {"weight": np.array([1.0, 0.0])}
    picture = task().presentation.pictures(inputs, {name: images[name] for name in names[2:]}, {}, {})["translations"]
    visible = {shade: np.all(picture == shade, -1).sum() > 500 for shade in range(20, 130, 5)}
    assert {shade for shade, is_visible in visible.items() if is_visible} == set(shades.values())


def test_a_paired_loss_of_unpaired_data_is_refused_before_training(tmp_path):
    config = tiny(load_recipe("experiments/gan/glyphs_cyclegan.py"))
    config.task.paired = 100.0
    with pytest.raises(UserError, match=r"task\.paired=100\.0 compares images of data\.train that are not pairs"):
        jaxdl.train(config, workdir=str(tmp_path / "run"))
    config.data.train.paired = True
    build(config).task.check_data(build(config).data)
