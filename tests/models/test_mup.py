"""muP: coordinate check, equality at the base width, initialization, learning rates by path."""

import flax.linen as nn
import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from benchmarks.coordinate_check import slopes
from jaxdl.errors import UserError
from jaxdl.models.gpt import Decoder
from jaxdl.models.transformer import Stack
from jaxdl.training.optimizers import adam, mup_scales

TOKENS = np.random.default_rng(0).integers(0, 11, (2, 6))


def decoder(features=128, tied=True, **changes):
    options = {"causal": True, "use_bias": False, "norm": "rms", **changes}
    return Decoder(11, 12, Stack(features, 1, 2, **options), tied)


def initial(model):
    return nn.unbox(jax.jit(lambda key: model.init(key, TOKENS, train=False))(jax.random.key(0)))["params"]


def logits(model, params):
    return jax.jit(lambda params: model.apply({"params": params}, TOKENS, train=False)[0])(params)


def test_activations_do_not_grow_with_the_width():
    widths = (32, 128)
    mup, standard = (slopes(widths, scale, seeds=1) for scale in ("mup", "standard"))
    assert set(mup) == {"logits", *(f"block_{n}/{part}" for n in range(2) for part in ("attention", "feed_forward"))}
    for layer, slope in mup.items():
        assert -0.5 < slope < 0.05, layer  # at infinite width 0; at width 32 fluctuations of the initial values add
        assert standard[layer] > slope + 0.5, layer


def test_mup_equals_the_standard_parametrization_at_its_base_width():
    params = initial(decoder())
    same = initial(decoder(scale="mup", base=128))
    jax.tree.map(np.testing.assert_array_equal, params, same)
    expected = logits(decoder(), params)  # heads of 64 features
    np.testing.assert_array_equal(logits(decoder(scale="mup", base=128), params), expected)
    assert mup_scales(128, 128) == {"*stack/block*/kernel": 1.0}


@pytest.mark.parametrize("tied", [True, False])
def test_kernels_and_output_are_scaled_at_four_times_the_base_width(tied):
    standard, mup = decoder(tied=tied), decoder(tied=tied, scale="mup", base=32)
    params, scaled = (flatten_dict(initial(model), sep="/") for model in (standard, mup))
    for path, leaf in params.items():
        factor = 0.5 if "block" in path and path.endswith("kernel") else 1.0
        np.testing.assert_allclose(np.asarray(scaled[path]), factor * np.asarray(leaf), rtol=1e-6, err_msg=path)
    params = initial(mup)
    np.testing.assert_allclose(logits(mup, params), logits(standard, params) / 4, rtol=1e-5)


def test_scores_are_divided_by_the_head_size():
    params = initial(decoder(64))
    x = logits(decoder(64, scale="mup", base=64), params)  # heads of 32 features
    wider = jax.tree.map(np.copy, params)
    wider["stack"]["block_0"]["attention"]["query"]["kernel"] *= 8 / 32 * 32**0.5
    np.testing.assert_allclose(x, logits(decoder(64), wider), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scan", [False, True])
def test_learning_rates_of_kernels_in_blocks_are_divided(scan):
    params = initial(decoder(scan=scan, tied=False))
    optimizer = adam(1.0, 10, schedule="constant", scales=mup_scales(128, 32))
    gradient = jax.tree.map(np.ones_like, params)
    updates, _ = optimizer.update(gradient, optimizer.init(params), params)
    for path, leaf in flatten_dict(updates, sep="/").items():
        hidden = "block" in path and path.endswith("kernel")
        np.testing.assert_allclose(np.asarray(leaf), -0.25 if hidden else -1.0, rtol=1e-5, err_msg=path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scale": "muP"}, "scale='muP' must be one of standard, mup"),
        ({"scale": "mup", "lora": 2}, "supports none of cross, experts, lora and scaled=False"),
        ({"scale": "mup", "experts": 2}, "supports none of"),
        ({"scale": "mup", "scaled": False}, "supports none of"),
        ({"scale": "mup", "base": 0}, "base=0 must be positive"),
    ],
)
def test_unsupported_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        initial(decoder(16, **changes))


def test_widths_must_be_positive():
    with pytest.raises(UserError, match="widths must be positive"):
        mup_scales(0)
