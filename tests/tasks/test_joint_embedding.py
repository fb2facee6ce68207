"""Joint embedding: losses against numpy and optax, scores of a bank, errors."""

from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl.errors import UserError
from jaxdl.models.convnet import ConvNet
from jaxdl.models.layers.norms import group_norm
from jaxdl.models.projection import ProjectedBackbone
from jaxdl.tasks.joint_embedding import JointEmbedding
from jaxdl.tasks.parts.embedding_scores import FewLabels, Retrieval
from jaxdl.tasks.parts.view_losses import NTXent, VICReg

KEY = jax.random.key(0)
RANDOM = np.random.default_rng(0)
FIRST, SECOND = (jnp.asarray(RANDOM.normal(size=(6, 5)), jnp.float32) for _ in range(2))
ONES = jnp.ones(6)


def loss_of(terms):
    return float(sum(term.coefficient * term.sum / term.weight for term in terms.values()))


def test_nt_xent_matches_optax():
    expected = optax.losses.ntxent(jnp.concatenate([FIRST, SECOND]), jnp.tile(jnp.arange(6), 2), temperature=0.3)
    assert loss_of(NTXent(0.3)(FIRST, SECOND, ONES)) == pytest.approx(float(expected), rel=1e-5)


def test_vicreg_matches_the_formulas_of_the_paper():
    expected = 25.0 * np.mean((FIRST - SECOND) ** 2)
    for view in (FIRST, SECOND):
        covariance = np.cov(view, rowvar=False)
        expected += 25.0 * np.mean(np.maximum(0, 1 - np.sqrt(np.var(view, axis=0, ddof=1) + 1e-4))) / 2
        expected += (np.sum(covariance**2) - np.sum(np.diag(covariance) ** 2)) / 5
    assert loss_of(VICReg()(FIRST, SECOND, ONES)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("view_loss", [NTXent(), VICReg()])
def test_padding_changes_no_loss(view_loss):
    padded = [jnp.concatenate([view, 100 + view[:2]]) for view in (FIRST, SECOND)]
    weight = jnp.array([1.0] * 6 + [0.0] * 2)
    exact = loss_of(view_loss(FIRST, SECOND, ONES))
    assert loss_of(view_loss(*padded, weight)) == pytest.approx(exact, rel=1e-5)


class Pooled(nn.Module):
    """Mean colour as embedding, scaled as projection."""

    @nn.compact
    def __call__(self, image, *, train):
        mean = image.mean((1, 2))
        return mean, mean * self.param("scale", lambda key: jnp.float32(2.0))


def make_batch():
    """Four queries and eight examples of the bank in three colours, in this order, and one row of padding."""
    label = np.array([0, 1, 2, 0, 0, 1, 2, 0, 1, 2, 0, 0, 0], np.int32)
    noise = RANDOM.integers(0, 20, (13, 4, 4, 3))
    image = (200 * np.eye(3)[label][:, None, None] + noise).astype(np.uint8)
    bank = np.array([0] * 4 + [1] * 9, np.int32)
    weight = np.array([1] * 12 + [0], np.float32)
    return {"image": image, "label": label, "bank": bank, "weight": weight, "index": np.array([*range(12), -1])}


def scored(task, batch):
    params, variables = task.init(KEY, batch)
    records = task.evaluate(params, variables, batch, KEY).records
    valid = batch["weight"] > 0
    return task.score({name: np.asarray(value)[valid] for name, value in records.items()}, {}, {})


def test_metrics_compare_queries_with_the_bank():
    few = JointEmbedding(Pooled(), VICReg(), FewLabels(labels=(4, 8, 9), neighbours=3))
    assert scored(few, make_batch()) == {"probe_4": 1.0, "knn_4": 1.0, "probe_8": 1.0, "knn_8": 1.0}
    retrieval = JointEmbedding(Pooled(), VICReg(), Retrieval(ranks=(1, 2, 50), shown=0))
    assert scored(retrieval, make_batch()) == {"recall_at_1": 1.0, "recall_at_2": 1.0}
    shown = JointEmbedding(Pooled(), VICReg(), Retrieval(ranks=(1,), shown=3))
    batch = make_batch()
    metrics = scored(shown, batch)
    np.testing.assert_array_equal(metrics["retrieved"][:, 0], batch["image"][:4])
    assert metrics["retrieved"].shape == (4, 4, 4, 4, 3)
    np.testing.assert_array_equal(metrics["relevant"][:, :2], True)
    assert shown.presentation.pictures(batch, {}, metrics, {})["retrieved"].dtype == np.uint8


def test_labels_of_the_bank_decide():
    """With the labels of the bank exchanged, every prediction is wrong, so none comes from the queries' labels."""
    batch = make_batch()
    batch["label"] = np.where(batch["bank"] > 0, (batch["label"] + 1) % 3, batch["label"])
    few = JointEmbedding(Pooled(), VICReg(), FewLabels(labels=(8,), neighbours=2))
    assert scored(few, batch) == {"probe_8": 0.0, "knn_8": 0.0}


def test_few_labels_averages_consecutive_blocks():
    """The second block has no examples of class 1, so a third of its predictions are wrong."""
    bank, labels = np.eye(3)[[0, 1, 2, 0, 2, 2]], np.array([0, 1, 2, 0, 2, 2])
    queries = np.eye(3) + 0.01
    metrics = FewLabels(labels=(3,), neighbours=1)(queries, np.arange(3), bank, labels)
    assert metrics == {"probe_3": pytest.approx(5 / 6), "knn_3": pytest.approx(5 / 6)}


def test_the_loss_uses_projections_of_both_views():
    batch = make_batch()
    batch["positive"] = batch["image"][::-1]
    task = JointEmbedding(Pooled(), VICReg(covariance=0.0, variance=0.0), FewLabels())
    params, variables = task.init(KEY, batch)
    terms = task.loss(params, variables, batch, KEY, jnp.int32(0), {}).terms
    projections = 2 * np.asarray(task.normalize(jnp.asarray(batch["image"]))).mean((1, 2))
    squares = np.mean((projections - projections[::-1]) ** 2, axis=1)[:12]
    assert loss_of(terms) == pytest.approx(25 * squares.mean(), rel=1e-5)


def test_embedding_of_a_projected_backbone_is_its_pooled_features():
    backbone = ConvNet(num_classes=3, channels=(8, 16), depth=1, norm=group_norm)
    model = ProjectedBackbone(backbone, hidden=(8,), outputs=5, norm=group_norm)
    image = RANDOM.normal(size=(2, 8, 8, 1)).astype(np.float32)
    variables = model.init(KEY, image, train=False)
    assert "head" not in variables["params"]["backbone"]
    embedding, projection = cast("tuple[jax.Array, jax.Array]", model.apply(variables, image, train=False))
    maps: Any = backbone.apply({"params": variables["params"]["backbone"]}, image, train=False, method="features")
    np.testing.assert_allclose(embedding, maps.mean((1, 2)), rtol=1e-5)
    assert projection.shape == (2, 5)


def test_batches_without_views_or_bank_are_refused():
    batch = make_batch()
    task = JointEmbedding(Pooled(), VICReg(), FewLabels())
    params, variables = task.init(KEY, batch)
    with pytest.raises(UserError, match=r"'positive'.*TwoViews"):
        task.loss(params, variables, batch, KEY, jnp.int32(0), {})
    with pytest.raises(UserError, match=r"'bank'.*WithBank"):
        task.evaluate(params, variables, {name: batch[name] for name in batch if name != "bank"}, KEY)
    batch["bank"] = np.zeros_like(batch["bank"])
    with pytest.raises(UserError, match="needs queries and a bank"):
        scored(task, batch)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NTXent(0.0), "temperature=0.0"),
        (lambda: VICReg(variance=-1.0), "variance=-1.0"),
        (lambda: FewLabels(labels=(0,)), "labels="),
        (lambda: Retrieval(ranks=()), "ranks="),
    ],
)
def test_arguments_out_of_range_are_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()
