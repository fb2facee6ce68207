"""Parameters that schedule-free optimizers evaluate."""

import jax
import numpy as np
import optax

from jaxdl.training.schedule_free import evaluation_params


def test_all_leaves_of_several_groups_are_averaged_and_frozen_ones_kept():
    params = {"dense": {"kernel": np.ones((2, 3)), "bias": np.zeros(3)}, "head": np.full(4, 2.0)}
    labels = {"dense": {"kernel": "train", "bias": "frozen"}, "head": "train"}
    free = optax.contrib.schedule_free_sgd(0.1, b1=0.5)
    optimizer = optax.multi_transform({"train": free, "frozen": optax.set_to_zero()}, labels)
    state = optimizer.init(params)
    y = params
    for _ in range(3):
        updates, state = optimizer.update(jax.tree.map(np.ones_like, y), state, y)
        y = optax.apply_updates(y, updates)
    single = optax.contrib.schedule_free_sgd(0.1, b1=0.5)
    for leaf, start in ((("dense", "kernel"), 1.0), (("head",), 2.0)):
        expected = np.asarray(start)
        alone = single.init(expected)
        for _ in range(3):
            update, alone = single.update(np.ones(()), alone, expected)
            expected = optax.apply_updates(expected, update)
        actual = evaluation_params(state, y)
        for name in leaf:
            actual = actual[name]
        np.testing.assert_allclose(actual, optax.contrib.schedule_free_eval_params(alone, expected), rtol=1e-6)
    np.testing.assert_array_equal(evaluation_params(state, y)["dense"]["bias"], 0.0)
