"""Losses that depend on other examples: exact under jit, refused or warned of where the batch is split."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from absl import logging
from fakes import Columns

from jaxdl.config.experiment import Experiment
from jaxdl.data.dataset import Data
from jaxdl.distributed.mesh import Parallel
from jaxdl.errors import UserError
from jaxdl.models.layers.norms import batch_norm
from jaxdl.tasks.image_classification import ImageClassification
from jaxdl.tasks.parts.apply import per_example
from jaxdl.testing.laws import Bench
from jaxdl.training.task import Evaluation, Outcome, Phase, Task, Term

IMAGES = np.random.default_rng(0).integers(0, 256, (16, 2, 2, 1)).astype(np.uint8)


class Contrastive(Task):
    """InfoNCE over the batch."""

    @property
    def batch_coupled(self):
        return "contrastive"

    @property
    def phases(self):
        return (Phase("train", "encoder", self.loss),)

    def init(self, key, batch):
        return {"encoder": {"kernel": jax.random.normal(key, (4, 3))}}, {}

    def loss(self, params, variables, batch, key, step, carry):
        features = batch["image"].reshape(len(batch["image"]), -1) / 255.0 @ params["encoder"]["kernel"]
        losses = -jnp.diag(jax.nn.log_softmax(features @ features.T))
        return Outcome({"info_nce": Term(*per_example(batch, losses))}, variables)

    def evaluate(self, params, variables, batch, key):
        return Evaluation({})


class Normalized(nn.Module):
    """A classifier with a batch normalization that `vars` of the module does not show."""

    shared: bool = False
    frozen: bool = False

    @nn.compact
    def __call__(self, image, *, train):
        x = image.reshape(image.shape[0], -1)
        if self.shared:
            return nn.Dense(2)(batch_norm(train=train)(x))
        return nn.Dense(2)(nn.BatchNorm(use_running_average=self.frozen or not train)(x))


def experiment(task, **changes):
    data = Data(train=Columns(image=IMAGES, label=np.arange(16, dtype=np.int32) % 2), evals={}, batch_size=16)
    return Experiment(**{"task": task, "data": data, "optimizers": {"train": optax.sgd(0.1)}, "steps": 2} | changes)


PMAP = {"parallel": Parallel(mode="pmap")}


def compiled(task, devices=1, **changes):
    program = Bench(experiment(task)).program("changed", devices, **changes)
    _ = program.compiled
    return program


def test_a_contrastive_loss_is_that_of_the_global_batch_on_several_devices():
    bench = Bench(experiment(Contrastive()))
    _, one = bench.steps(bench.program(), 2)
    _, eight = bench.steps(bench.program("eight", 8), 2)
    np.testing.assert_allclose(eight, one, rtol=1e-5)


def test_a_contrastive_loss_is_refused_under_pmap_and_with_micro_batches():
    with pytest.raises(UserError, match=r"\(contrastive\), so parallel.mode=pmap changes it; use parallel.mode=jit"):
        compiled(Contrastive(), 8, **PMAP)
    with pytest.raises(UserError, match=r"\(contrastive\), so accumulate=2 changes it; use accumulate=1"):
        compiled(Contrastive(), accumulate=2)
    compiled(Contrastive(), 1, **PMAP)


def test_batch_normalization_of_one_device_is_refused_under_pmap():
    with pytest.raises(UserError, match=r"nn\.BatchNorm 'BatchNorm_0' has axis_name=None"):
        compiled(ImageClassification(Normalized()), 8, **PMAP)
    compiled(ImageClassification(Normalized(shared=True)), 8, **PMAP)
    compiled(ImageClassification(Normalized(frozen=True)), 8, **PMAP)


@pytest.mark.parametrize(("model", "warns"), [(Normalized(), True), (Normalized(frozen=True), False)])
def test_micro_batches_warn_of_batch_normalization(monkeypatch, model, warns):
    warnings = []
    monkeypatch.setattr(logging, "warning", lambda text, *values: warnings.append(text % values))
    program = compiled(ImageClassification(model), accumulate=2)
    assert program.coupling == ("batch normalization" if warns else "")
    assert [line for line in warnings if "micro-batches of 8 examples" in line] == warnings[: int(warns)]
