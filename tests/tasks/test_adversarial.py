"""Adversarial losses against numpy, gradient penalties against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.tasks.parts import adversarial

LOGITS = np.array([-30.0, -1.5, -1.0, -0.2, 0.0, 0.7, 1.0, 2.5, 30.0])

REFERENCES = {
    "non_saturating": (
        lambda x: np.log1p(np.exp(-x)),
        lambda x: np.log1p(np.exp(x)),
        lambda x: -np.log(1 / (1 + np.exp(-x))),
    ),
    "hinge": (lambda x: np.maximum(0, 1 - x), lambda x: np.maximum(0, 1 + x), lambda x: -x),
    "wasserstein": (lambda x: -x, lambda x: x, lambda x: -x),
    "least_squares": (lambda x: (x - 1) ** 2, lambda x: x**2, lambda x: (x - 1) ** 2),
}


@pytest.mark.parametrize("loss", REFERENCES)
def test_losses_match_the_papers(loss):
    functions = adversarial.LOSSES[loss]
    for function, reference in zip((functions.real, functions.fake, functions.generator), REFERENCES[loss]):
        np.testing.assert_allclose(function(jnp.asarray(LOGITS)), reference(LOGITS), rtol=1e-5, atol=1e-6)


def test_optimal_logit_of_equal_densities_is_0():
    """Goodfellow et al.: for equal densities the loss has its minimum 2 log 2 at logit 0."""

    def total(x):
        loss = adversarial.LOSSES["non_saturating"]
        return loss.real(x) + loss.fake(x)

    np.testing.assert_allclose(jax.grad(total)(0.0), 0.0, atol=1e-7)
    np.testing.assert_allclose(total(0.0), 2 * np.log(2), rtol=1e-6)


def quadratic():
    draws = np.random.default_rng(0)
    a = draws.normal(size=(6, 6))
    return (a + a.T) / 2, draws.normal(size=(5, 2, 3))


def test_r1_of_a_quadratic_discriminator_in_closed_form():
    """D(x) = x'Ax / 2 has the gradient Ax.

    R1 is |Ax|^2 / 2, and its gradient with respect to A is Axx'.
    """
    a, x = quadratic()

    def penalty(a):
        def discriminate(image):
            flat = image.reshape(len(image), -1)
            return 0.5 * jnp.einsum("bi,ij,bj->b", flat, a, flat)

        return adversarial.r1(discriminate, jnp.asarray(x, jnp.float32))

    flat = x.reshape(5, 6)
    np.testing.assert_allclose(penalty(jnp.asarray(a)), 0.5 * ((flat @ a) ** 2).sum(-1), rtol=1e-5)
    gradient = jax.grad(lambda a: penalty(a).sum())(jnp.asarray(a))
    outer = np.einsum("ij,bj,bk->ik", a, flat, flat)
    np.testing.assert_allclose(gradient, (outer + outer.T) / 2, rtol=1e-4, atol=1e-4)


def test_r1_of_logit_maps_uses_their_sum():
    x = jnp.asarray(np.random.default_rng(1).normal(size=(4, 2, 2, 1)), jnp.float32)
    penalty = adversarial.r1(lambda image: image**2, x)
    np.testing.assert_allclose(penalty, 0.5 * np.sum((2 * np.asarray(x)) ** 2, (1, 2, 3)), rtol=1e-5)


def test_gradient_penalty_of_a_linear_critic():
    """D(x) = w'x: the norm is |w| for every mixture; its gradient is 2 (|w| - 1) w / |w|."""
    draws = np.random.default_rng(2)
    real, generated = jnp.asarray(draws.normal(size=(2, 5, 3)), jnp.float32)
    w = draws.normal(size=3)

    def penalty(w):
        return adversarial.gradient_penalty(lambda x: x @ w, real, generated, jnp.linspace(0, 1, 5))

    norm = np.linalg.norm(w)
    np.testing.assert_allclose(penalty(jnp.asarray(w)), np.full(5, (norm - 1) ** 2), rtol=1e-5)
    gradient = jax.grad(lambda w: penalty(w).mean())(jnp.asarray(w))
    np.testing.assert_allclose(gradient, 2 * (norm - 1) * w / norm, rtol=1e-5)


def test_gradient_penalty_is_evaluated_between_the_images():
    """D(x) = |x|^2 / 2 has the gradient x, the mixture; generated images get no gradient."""
    real, generated = jnp.full((3, 4), 2.0), jnp.full((3, 4), -1.0)
    share = jnp.array([0.0, 0.5, 1.0])

    def penalty(generated):
        return adversarial.gradient_penalty(lambda x: 0.5 * jnp.sum(x**2, -1), real, generated, share)

    np.testing.assert_allclose(penalty(generated), [(2 - 1) ** 2, (1 - 1) ** 2, (4 - 1) ** 2], atol=1e-5)
    np.testing.assert_array_equal(jax.grad(lambda g: penalty(g).sum())(generated), 0.0)


def test_gradient_penalty_of_a_constant_critic_is_finite():
    def penalty(w):
        return adversarial.gradient_penalty(lambda x: x @ w, jnp.ones((2, 3)), jnp.zeros((2, 3)), jnp.ones(2)).sum()

    value, gradient = jax.value_and_grad(penalty)(jnp.zeros(3))
    np.testing.assert_allclose(value, 2.0, rtol=1e-5)
    assert np.all(np.isfinite(gradient))


def test_logit_metrics_match_hand_computed_values():
    weight = jnp.array([1.0, 2.0, 0.0])
    metrics = adversarial.logit_metrics("real", jnp.array([3.0, -1.0, 9.0]), weight, real=True)
    np.testing.assert_allclose(metrics["real_logit"], (1.0, 3.0))
    np.testing.assert_allclose(metrics["real_accuracy"], (1.0, 3.0))
    maps = jnp.array([[1.0, -1.0], [-1.0, -1.0], [5.0, 5.0]]).reshape(3, 2, 1, 1)
    metrics = adversarial.logit_metrics("fake", maps, weight, real=False)
    np.testing.assert_allclose(metrics["fake_accuracy"], (0.5 + 2.0, 3.0))
    threshold = adversarial.LOSSES["wasserstein"].threshold
    assert set(adversarial.logit_metrics("fake", maps, weight, False, threshold)) == {"fake_logit"}
    assert adversarial.LOSSES["least_squares"].threshold == 0.5
