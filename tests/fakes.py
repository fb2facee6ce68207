"""Small tasks that are no recipe: two phases with carried state, and tokens of variable length."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl.config.experiment import Experiment
from jaxdl.data.dataset import Data
from jaxdl.data.source import ColumnSource
from jaxdl.training.task import Evaluation, FunctionTask, Outcome, Phase, Term, example_keys


class Columns:
    """A data set made of given columns."""

    def __init__(self, **columns: np.ndarray):
        self.columns = columns

    def load(self) -> ColumnSource:
        return ColumnSource(self.columns, fingerprint=str(sorted(self.columns)))


def duel() -> Any:
    """Two groups that pull against each other, as a GAN's do: the critic trains every second step.

    The carry counts, for each batch slot, how often it was seen; noise is drawn for each example.
    """

    def init(key, batch):
        del batch
        return {"maker": {"shift": jax.random.normal(key, (3,))}, "critic": {"scale": jnp.ones(3)}}, {
            "seen": jnp.zeros(())
        }

    def score(params, batch, key):
        noise = jax.vmap(lambda k: jax.random.normal(k, (3,)))(example_keys(key, batch))
        made = params["maker"]["shift"] + noise
        return jnp.sum(params["critic"]["scale"] * (made - batch["x"]) ** 2, axis=-1)

    def outcome(params, variables, batch, key, sign):
        weight = batch["weight"]
        seen = 0.1 * batch["carry"][:, 0] * jnp.sum(params["critic"]["scale"])  # so that a lost carry is noticed
        total = jnp.sum(weight * (score(params, batch, key) + seen))
        penalty = jnp.sum(params["critic"]["scale"] ** 2)
        return Outcome(
            terms={
                "game": Term(sign * total, jnp.sum(weight)),
                "penalty": Term(penalty * jnp.sum(weight), jnp.sum(weight), 0.5),
            },
            variables=variables,
            metrics={"score": (total, jnp.sum(weight))},
            carry=batch["carry"] + 1.0,
        )

    def maker(params, variables, batch, key, step):
        del step
        return outcome(params, variables, batch, key, 1.0)

    def critic(params, variables, batch, key, step):
        del step
        return outcome(params, variables, batch, key, -1.0)

    def evaluate(params, variables, batch, key):
        del variables
        values = score(params, batch, key)
        return Evaluation({"score": (jnp.sum(batch["weight"] * values), jnp.sum(batch["weight"]))}, {"value": values})

    return FunctionTask(
        init=init,
        phases=(Phase("critic", "critic", critic, every=2), Phase("maker", "maker", maker)),
        evaluate=evaluate,
        predict=lambda params, variables, batch, key: {"value": score(params, batch, key)},
        score=lambda records, metrics, names: {
            "median": float(np.median(records["value"])),
            "scored": float(len(records["value"])),
        },
        carry=lambda batch: jnp.zeros((batch["x"].shape[0], 2)),
    )


def duel_experiment(**changes) -> Experiment:
    x = np.random.default_rng(0).normal(2.0, 1.0, (40, 3)).astype(np.float32)
    settings = {
        "task": duel(),
        "data": Data(train=Columns(x=x), evals={"validation": Columns(x=x[:13])}, batch_size=16),
        "optimizers": {"critic": optax.sgd(1e-2), "maker": optax.adam(1e-1)},
        "steps": 20,
        "ema": 0.9,
    }
    return Experiment(**{**settings, **changes})


def regression() -> Any:
    """Least squares over the valid tokens of sequences [batch, time, 4] of very different lengths."""

    def init(key, batch):
        del batch
        return {"line": {"kernel": jax.random.normal(key, (4,))}}, {}

    def loss(params, variables, batch, key, step):
        del key, step
        mask = (jnp.arange(batch["x"].shape[1])[None] < batch["length"][:, None]) * batch["weight"][:, None]
        error = jnp.square(batch["x"] @ params["line"]["kernel"] - batch["y"])
        return Outcome({"square": Term(jnp.sum(mask * error), jnp.sum(mask))}, variables)

    def evaluate(params, variables, batch, key):
        term = loss(params, variables, batch, key, 0).terms["square"]
        return Evaluation({"loss": (term.sum, term.weight)})

    return FunctionTask(
        init, (Phase("train", "line", loss),), evaluate, lambda params, variables, batch, key: {"x": batch["x"]}
    )


def regression_experiment(**changes) -> Experiment:
    random = np.random.default_rng(1)
    x = random.normal(size=(64, 12, 4)).astype(np.float32)
    length = random.choice([1, 2, 12], 64).astype(np.int32)
    y = (x @ np.array([1.0, -2.0, 3.0, 0.5], np.float32) + length[:, None]).astype(np.float32)
    data = Data(train=Columns(x=x, y=y, length=length), evals={}, batch_size=16)
    settings = {"task": regression(), "data": data, "optimizers": {"train": optax.sgd(0.05)}, "steps": 20}
    return Experiment(**{**settings, **changes})
