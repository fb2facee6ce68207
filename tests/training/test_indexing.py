"""Sizes of tables that a function indexes with the elements of an argument."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.training.indexing import indexed_sizes

TABLE = np.ones((31, 4), np.float32)
IDS = jax.ShapeDtypeStruct((3, 5), jnp.int32)


def scanned(ids):
    return jax.lax.scan(lambda carry, column: (carry + TABLE.shape[1], jnp.asarray(TABLE)[column]), 0, ids.T)[1]


@pytest.mark.parametrize(
    ("function", "sizes"),
    [
        (lambda ids: jnp.asarray(TABLE)[ids], {31}),
        (lambda ids: jnp.take(jnp.asarray(TABLE), ids[:, :-1], axis=0), {31}),
        (lambda ids: jnp.asarray(TABLE)[jnp.where(ids == 0, 3, ids.reshape(-1).reshape(3, 5))], {31}),
        (lambda ids: jnp.take_along_axis(jnp.ones((3, 5, 77)), ids[..., None], axis=-1), {77}),
        (jax.checkpoint(jax.jit(lambda ids: jnp.asarray(TABLE)[ids])), {31}),
        (scanned, {31}),
        (lambda ids: jax.nn.one_hot(ids, 9), set()),
        (lambda ids: jnp.asarray(TABLE)[jnp.maximum(ids, 0)], set()),
        (lambda ids: jnp.asarray(TABLE)[jnp.arange(ids.shape[1])], set()),
        (lambda ids: jnp.asarray(TABLE)[(ids > 0).astype(int)], set()),
    ],
)
def test_sizes_of_indexed_axes(function, sizes):
    _, found = indexed_sizes(lambda values: function(values["ids"]), {"ids": IDS})
    assert found == {"ids": sizes}


def test_arrays_are_told_apart_and_the_result_is_a_shape():
    def function(values, table):
        return table[values["source"]] + jnp.ones((50, 4))[values["target"]]

    result, found = indexed_sizes(function, {"target": IDS, "source": IDS}, jnp.asarray(TABLE))
    assert result.shape == (3, 5, 4)
    assert found == {"source": {31}, "target": {50}}
