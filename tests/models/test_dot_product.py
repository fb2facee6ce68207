"""Blockwise, TPU and cuDNN attention kernels against reference attention."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from jaxdl.distributed.mesh import Parallel, active, make_mesh
from jaxdl.models.layers.dense import logical_partition_spec
from jaxdl.models.layers.dot_product import Scores, by_blocks, dot_product_attention, splash


def random_inputs(batch=2, n=16, m=16, heads=4, kv_heads=4, size=8) -> tuple[jax.Array, jax.Array, jax.Array]:
    draws = np.random.default_rng(0)
    shapes = [(batch, n, heads, size), (batch, m, kv_heads, size), (batch, m, kv_heads, size)]
    query, key, value = (jnp.asarray(draws.normal(size=shape), jnp.float32) for shape in shapes)
    return query, key, value


def reference(query, key, value, bias=None, mask=None, segments=None, causal=False, window=0, scale=0.3):
    groups = query.shape[2] // key.shape[2]
    key, value = (jnp.repeat(array, groups, axis=2) for array in (key, value))
    scores = jnp.einsum("bnhd,bmhd->bhnm", query, key) * scale
    scores = scores if bias is None else scores + bias
    ahead = jnp.arange(query.shape[1])[:, None] - jnp.arange(key.shape[1])
    allowed = jnp.ones_like(ahead, bool) if not causal else (ahead >= 0) & ((ahead < window) if window else True)
    allowed = allowed if mask is None else allowed & mask
    if segments is not None:
        allowed = allowed & (segments[:, None, :, None] == segments[:, None, None, :])
    return jnp.einsum("bhnm,bmhd->bnhd", jax.nn.softmax(jnp.where(allowed, scores, -jnp.inf), axis=-1), value)


MASK = np.random.default_rng(0).random((2, 1, 16, 16)) < 0.7
MASK |= np.eye(16, dtype=bool)
SEGMENTS = np.array([[1] * 5 + [2] * 9 + [0] * 2, [1] * 2 + [2] + [3] * 13], np.int32)
BIAS = np.random.default_rng(1).normal(size=(1, 4, 16, 16)).astype(np.float32)


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize(
    ("blocks", "options"),
    [
        *[(blocks, {"causal": True}) for blocks in (1, 4, 8)],
        *[(blocks, {"causal": True, "window": 3}) for blocks in (1, 4, 8)],
        *[(blocks, {"causal": True, "mask": MASK, "bias": BIAS}) for blocks in (1, 4, 8)],
        (None, {}),
        (None, {"mask": MASK, "bias": BIAS}),
        (None, {"mask": MASK[:, :, :1], "bias": BIAS[:, :1]}),
        (None, {"segments": SEGMENTS}),
        *[(blocks, {"causal": True, "segments": SEGMENTS}) for blocks in (1, 4)],
        (4, {"causal": True, "segments": SEGMENTS, "window": 3, "mask": MASK}),
    ],
)
def test_blockwise_attention_matches_the_reference_with_gradients(kv_heads, blocks, options):
    inputs = random_inputs(kv_heads=kv_heads)

    def squares(attend, **more):
        return jax.value_and_grad(lambda *inputs: jnp.sum(attend(*inputs, **more) ** 2), argnums=(0, 1, 2))

    actual = jax.jit(squares(by_blocks, scores=Scores(scale=0.3, **options), blocks=blocks))(*inputs)
    jax.tree.map(
        lambda one, two: np.testing.assert_allclose(one, two, rtol=2e-4, atol=1e-4),
        actual,
        squares(reference, **options)(*inputs),  # not compiled: the cases share its operations
    )


def test_a_query_without_keys_returns_the_mean_of_the_values_without_a_gradient_of_its_scores():
    inputs = random_inputs()
    mask = np.ones((2, 1, 16, 16), bool)
    mask[1, 0, 3] = False

    def total(query, key, value):
        y = dot_product_attention(query, key, value, Scores(mask=jnp.asarray(mask)))
        return jnp.sum(y[1, 3] ** 2), y[1, 3]

    gradients, y = jax.jit(jax.grad(total, argnums=(0, 1, 2), has_aux=True))(*inputs)
    np.testing.assert_allclose(y, inputs[2][1].mean(0), rtol=1e-5)
    assert [bool(jnp.any(gradient)) for gradient in gradients] == [False, False, True]


def test_queries_and_keys_may_differ_in_length():
    inputs = random_inputs(n=5, m=9)
    output = dot_product_attention(*inputs, scores=Scores(scale=0.3))
    np.testing.assert_allclose(output, reference(*inputs), atol=1e-5)


def test_a_fully_masked_query_gives_finite_outputs():
    output = by_blocks(*random_inputs(), Scores(mask=jnp.zeros((1, 1, 16, 16), bool), scale=0.3, causal=True))
    assert np.all(np.isfinite(output))


@pytest.mark.parametrize(("causal", "window", "packed"), [(False, 0, 0), (True, 0, 0), (True, 40, 0), (True, 0, 50)])
def test_the_tpu_kernel_matches_the_reference(causal, window, packed):
    inputs = random_inputs(batch=1, n=128, m=128, heads=2, kv_heads=1, size=128)
    options = {"segments": jnp.arange(128)[None] // packed} if packed else {}
    output = splash(*inputs, scores=Scores(scale=0.1, causal=causal, window=window, **options), interpret=True)
    expected = reference(*inputs, causal=causal, window=window, scale=0.1, **options)
    np.testing.assert_allclose(output, expected, atol=1e-5)


def test_the_tpu_kernel_matches_the_reference_over_devices():
    inputs = random_inputs(batch=4, n=128, m=128, heads=2, kv_heads=1, size=128)
    segments = jnp.broadcast_to(jnp.arange(128) // 50, (4, 128))
    parallel = Parallel(mesh={"data": 2, "fsdp": 2, "tensor": 2})
    mesh = make_mesh(parallel)
    sharding = NamedSharding(mesh, PartitionSpec(("data", "fsdp")))
    with active(mesh, parallel):
        attend = jax.jit(
            lambda q, k, v: splash(q, k, v, Scores(scale=0.1, causal=True, segments=segments), interpret=True)
        )
        output = attend(*jax.device_put(inputs, sharding))
    assert output.sharding.shard_shape(output.shape) == (1, 128, 1, 128)
    expected = reference(*inputs, causal=True, scale=0.1, segments=segments)
    np.testing.assert_allclose(output, expected, atol=1e-5)


def test_half_precision_accumulates_in_float32():
    inputs = [array.astype(jnp.bfloat16) for array in random_inputs(n=64, m=64)]
    output = dot_product_attention(*inputs, scores=Scores(scale=0.3, causal=True))
    assert output.dtype == jnp.bfloat16
    exact = reference(*(array.astype(jnp.float32) for array in inputs), causal=True)
    np.testing.assert_allclose(output.astype(jnp.float32), exact, atol=0.03)


def test_an_indivisible_axis_is_replicated():
    parallel = Parallel(mesh={"data": 2, "fsdp": 2, "tensor": 2})
    assert logical_partition_spec(("batch", "heads"), (4, 2)) is None  # without a mesh
    with active(make_mesh(parallel), parallel):
        assert logical_partition_spec(("batch", None, "heads", None), (8, 7, 4, 3)) == PartitionSpec(
            ("data", "fsdp"), None, "tensor", None
        )
        assert logical_partition_spec(("batch", None, "heads", None), (8, 7, 3, 3)) == PartitionSpec(
            ("data", "fsdp"), None, None, None
        )
        assert logical_partition_spec(("embed", "mlp"), (3, 4)) == PartitionSpec(None, "tensor")
