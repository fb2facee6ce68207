"""Mixture of experts: routing, outputs and load balancing."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from modules import apply, random_weights

from jaxdl.models.layers.mixture_of_experts import Experts

X = np.random.default_rng(0).normal(size=(2, 6, 4)).astype(np.float32)


def initialized(**options):
    module = Experts(
        **{"count": 3, "experts_per_token": 2, "hidden": 5, "activation": nn.silu, "gated": True, **options}
    )
    return module, random_weights(module.init, X, seed=1)


def reference(params, bias, x, active=2):
    scores = 1 / (1 + np.exp(-x @ params["router"]["kernel"]))
    result = np.zeros_like(x)
    for place in np.ndindex(x.shape[:-1]):
        chosen = np.argsort(-(scores[place] + bias))[:active]
        for expert in chosen:
            gate = x[place] @ params["gate"][expert]
            h = (x[place] @ params["in"][expert]) * gate / (1 + np.exp(-gate))
            result[place] += scores[place][expert] / scores[place][chosen].sum() * (h @ params["out"][expert])
    return result


def test_a_token_is_routed_to_its_best_experts():
    module, variables = initialized()
    bias = np.array([0.0, 0.3, -0.2], np.float32)
    variables["balance"]["bias"] = bias
    expected = reference(jax.device_get(variables["params"]), bias, np.asarray(X))
    np.testing.assert_allclose(apply(module, variables, X), expected, atol=1e-5)


def test_tokens_are_independent():
    module, variables = initialized(gated=False)
    expected = apply(module, variables, X)
    for row in range(2):
        np.testing.assert_allclose(apply(module, variables, X[row : row + 1])[0], expected[row], atol=1e-6)


def test_gradients_reach_every_expert_and_the_router():
    module, variables = initialized()

    def loss(params):
        return jnp.sum(apply(module, {**variables, "params": params}, X) ** 2)

    gradients = jax.jit(jax.grad(loss))(variables["params"])
    for name in ("in", "gate", "out"):
        assert np.all(np.abs(gradients[name]).max((1, 2)) > 0), name
    assert np.abs(gradients["router"]["kernel"]).max() > 0


def test_loads_are_balanced():
    module, variables = initialized(experts_per_token=1, rate=0.01)
    x = X + 4.0 * (np.arange(4) == 0)  # nearly all tokens are routed to the same expert

    def loads(bias):
        scores = 1 / (1 + np.exp(-x @ variables["params"]["router"]["kernel"])) + bias
        return np.bincount(scores.argmax(-1).ravel(), minlength=3)

    initial_loads = loads(variables["balance"]["bias"])
    step = jax.jit(lambda variables, x: module.apply(variables, x, mutable=["balance"])[1])
    for _ in range(200):
        variables = {**variables, **step(variables, x)}
    last = loads(variables["balance"]["bias"])
    assert last.max() - last.min() < initial_loads.max() - initial_loads.min()
    assert last.max() <= 6
    assert "balance" in step(variables, x)


def test_invalid_counts_are_refused():
    with pytest.raises(ValueError, match="experts_per_token=4 must be from 1 to count=3"):
        initialized(experts_per_token=4)
