"""Averages of the outputs of an ensemble's members, for `Task.average`."""

import jax
import jax.numpy as jnp

from jaxdl.training.task import PyTree


def mean(outputs: PyTree) -> PyTree:
    """Returns the mean of outputs [members, ...]."""
    return jax.tree.map(lambda values: values.mean(0), outputs)


def mean_quantiles(outputs: jax.Array) -> jax.Array:
    """Returns the mean [..., quantiles] of the sorted quantiles of each member, of [members, ..., quantiles].

    Averaging quantiles instead of distribution functions keeps the shape of the members' distributions (Lichtendahl,
    Grushka-Cockayne and Winkler, "Is It Better to Average Probabilities or Quantiles?", 2013).
    """
    return jnp.sort(outputs, axis=-1).mean(0)


def mean_probability(logits: jax.Array) -> jax.Array:
    """Returns the logarithm of the mean probabilities [..., classes] of logits [members, ..., classes]."""
    log_probabilities = jax.nn.log_softmax(logits.astype(jnp.float32))
    return jax.nn.logsumexp(log_probabilities, axis=0) - jnp.log(logits.shape[0])


def each(outputs: PyTree) -> PyTree:
    """Returns the outputs [members, ...] of a task that averages later."""
    return outputs
