"""Small tasks for tests: two phases with a carry, and sequences of variable length."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl.config.experiment import Experiment
from jaxdl.data.dataset import Data
from jaxdl.data.source import ColumnSource
from jaxdl.tasks.parts.apply import per_example
from jaxdl.training.task import Array, Batch, Evaluation, Outcome, Phase, PyTree, Task, Term, example_keys


class Columns:
    """Data set with the given columns."""

    def __init__(self, **columns: np.ndarray):
        self.columns = columns

    def load(self) -> ColumnSource:
        return ColumnSource(self.columns, fingerprint=str(sorted(self.columns)))


class Duel(Task):
    """Two groups with opposite losses, as in a GAN; the critic trains every second step.

    The carry counts the updates of each batch row, and noise is drawn per example.
    """

    @property
    def phases(self) -> tuple[Phase, ...]:
        return Phase("critic", "critic", self.critic_loss, every=2), Phase("maker", "maker", self.maker_loss)

    def init(self, key: Array, batch: Batch) -> tuple[dict, dict]:
        params = {"maker": {"shift": jax.random.normal(key, (3,))}, "critic": {"scale": jnp.ones(3)}}
        return params, {"seen": jnp.zeros(())}

    def carry(self, batch: Batch) -> Array:
        return jnp.zeros((batch["x"].shape[0], 2))

    def maker_loss(self, *inputs: Any) -> Outcome:
        return self._outcome(1.0, *inputs)

    def critic_loss(self, *inputs: Any) -> Outcome:
        return self._outcome(-1.0, *inputs)

    def evaluate(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> Evaluation:
        values = self._distances(params, batch, key)
        return Evaluation({"score": per_example(batch, values)}, {"value": values})

    def score(self, records: Mapping[str, np.ndarray], metrics: Any, names: Any) -> dict[str, float]:
        return {"median": float(np.median(records["value"])), "scored": float(len(records["value"]))}

    def predict(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> dict[str, Array]:
        return {"value": self._distances(params, batch, key)}

    def _distances(self, params: PyTree, batch: Batch, key: Array) -> Array:
        noise = jax.vmap(lambda key: jax.random.normal(key, (3,)))(example_keys(key, batch))
        fake = params["maker"]["shift"] + noise
        return jnp.sum(params["critic"]["scale"] * (fake - batch["x"]) ** 2, axis=-1)

    def _outcome(
        self, sign: float, params: PyTree, variables: PyTree, batch: Batch, key: Array, step: Array, carry: PyTree
    ) -> Outcome:
        scale = params["critic"]["scale"]
        updates = 0.1 * carry[:, 0] * jnp.sum(scale)  # a lost carry changes the loss
        total, weight = per_example(batch, self._distances(params, batch, key) + updates)
        terms = {"game": Term(sign * total, weight), "penalty": Term(jnp.sum(scale**2) * weight, weight, 0.5)}
        return Outcome(terms, variables, metrics={"score": (total, weight)}, carry=carry + 1.0)


def duel_experiment(**changes) -> Experiment:
    x = np.random.default_rng(0).normal(2.0, 1.0, (40, 3)).astype(np.float32)
    settings = {
        "task": Duel(),
        "data": Data(train=Columns(x=x), evals={"validation": Columns(x=x[:13])}, batch_size=16),
        "optimizers": {"critic": optax.sgd(1e-2), "maker": optax.adam(1e-1)},
        "steps": 20,
        "ema": 0.9,
    }
    return Experiment(**{**settings, **changes})


class Regression(Task):
    """Least squares over the valid tokens of sequences [batch, time, 4] of variable length."""

    @property
    def phases(self) -> tuple[Phase, ...]:
        return (Phase("train", "line", self.loss),)

    def init(self, key: Array, batch: Batch) -> tuple[dict, dict]:
        return {"line": {"kernel": jax.random.normal(key, (4,))}}, {}

    def loss(self, params: PyTree, variables: PyTree, batch: Batch, key: Array, step: Array, carry: PyTree) -> Outcome:
        return Outcome({"square": self._square(params, batch)}, variables)

    def evaluate(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> Evaluation:
        term = self._square(params, batch)
        return Evaluation({"loss": (term.sum, term.weight)})

    def predict(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> dict[str, Array]:
        return {"x": batch["x"]}

    def _square(self, params: PyTree, batch: Batch) -> Term:
        mask = (jnp.arange(batch["x"].shape[1])[None] < batch["length"][:, None]) * batch["weight"][:, None]
        error = jnp.square(batch["x"] @ params["line"]["kernel"] - batch["y"])
        return Term(jnp.sum(mask * error), jnp.sum(mask))


def regression_experiment(**changes) -> Experiment:
    random = np.random.default_rng(1)
    x = random.normal(size=(64, 12, 4)).astype(np.float32)
    length = random.choice([1, 2, 12], 64).astype(np.int32)
    y = (x @ np.array([1.0, -2.0, 3.0, 0.5], np.float32) + length[:, None]).astype(np.float32)
    data = Data(train=Columns(x=x, y=y, length=length), evals={}, batch_size=16)
    settings = {"task": Regression(), "data": data, "optimizers": {"train": optax.sgd(0.05)}, "steps": 20}
    return Experiment(**{**settings, **changes})
