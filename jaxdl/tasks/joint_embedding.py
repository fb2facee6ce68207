"""Joint embedding of pairs of views: self-supervised pretraining and metric learning."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from jaxdl.errors import UserError
from jaxdl.tasks.parts.apply import float_outputs
from jaxdl.tasks.parts.arguments import require_features
from jaxdl.tasks.parts.embedding_scores import EmbeddingScore
from jaxdl.tasks.parts.model_task import ModelTask
from jaxdl.tasks.parts.pixels import Normalize
from jaxdl.tasks.parts.view_losses import ViewLoss
from jaxdl.training.task import Array, Batch, Evaluation, Outcome, PyTree
from jaxdl.viz.embedding import EmbeddingPresentation

_SHOWN = 10  # queries in a picture


@dataclass(frozen=True, eq=False)
class JointEmbedding(ModelTask):
    """Embeddings of images, trained so that those of two views are alike (SimCLR, VICReg).

    Batches: `image` and `positive` uint8 [batch, height, width, channels], two views of one example, such as of
    `jaxdl.data.image.views.TwoViews`. Evaluation: `image`, `label` int32 [batch] and `bank` int32 [batch], see
    `jaxdl.data.bank.WithBank`. Labels are not used in training.

    Evaluation metrics: those of `evaluation`, of the queries' embeddings against those of the bank.

    Predictions: `embedding` float32 [batch, features]. `jaxdl predict --nearest` compares it with the bank.

    Attributes:
      model: Encoder, `model(image [batch, h, w, c] float, *, train) -> (embedding [batch, features], projection
        [batch, outputs])`, such as `jaxdl.models.projection.ProjectedBackbone`.
      view_loss: Loss of the projections, such as `NTXent` and `VICReg`.
      evaluation: Scores of embeddings, `FewLabels` or `Retrieval`.
      normalize: Normalization of the images.
    """

    group: ClassVar[str] = "encoder"
    presentation = EmbeddingPresentation()

    view_loss: ViewLoss
    evaluation: EmbeddingScore
    normalize: Normalize = field(default_factory=Normalize)

    @property
    def batch_coupled(self) -> str:
        return self.view_loss.coupling

    def init(self, key: Array, batch: Batch) -> tuple[dict, dict]:
        return self.init_model(key, self.normalize(jnp.asarray(batch["image"])))

    def loss(self, params: PyTree, variables: PyTree, batch: Batch, key: Array, step: Array, carry: PyTree) -> Outcome:
        require_features(batch, "positive", source="data.augment=(TwoViews(...),)")
        views = self.normalize(jnp.concatenate([batch["image"], batch["positive"]]))
        (_, projections), variables = self.apply_model(params, variables, batch, key, views)
        first, second = jnp.split(float_outputs(projections, views.shape[0], "features"), 2)
        return Outcome(self.view_loss(first, second, batch["weight"]), variables)

    def evaluate(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> Evaluation:
        require_features(batch, "bank", "label", source="jaxdl.data.bank.WithBank")
        features = ("label", "bank", "image") if self.evaluation.shown else ("label", "bank")
        records = {"embedding": self._embedding(params, variables, batch)}
        return Evaluation({}, records | {name: batch[name] for name in features})

    def predict(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> dict[str, Array]:
        return {"embedding": self._embedding(params, variables, batch)}

    def score(self, records: Mapping[str, np.ndarray], metrics: Mapping[str, Any], names: Any = None) -> dict[str, Any]:
        """Returns the metrics of `evaluation`, and for pictures the arrays of `_retrieved`."""
        in_bank = records["bank"] > 0
        if in_bank.all() or not in_bank.any():
            raise UserError("the evaluation needs queries and a bank; use WithBank with examples in both")
        queries, bank = ({name: value[rows] for name, value in records.items()} for rows in (~in_bank, in_bank))
        scores = self.evaluation(queries["embedding"], queries["label"], bank["embedding"], bank["label"])
        return scores | (_retrieved(queries, bank, self.evaluation.shown) if self.evaluation.shown else {})

    def _embedding(self, params: PyTree, variables: PyTree, batch: Batch) -> Array:
        (embedding, _), _ = self.apply_model(params, variables, batch, None, self.normalize(batch["image"]))
        return float_outputs(embedding, batch["image"].shape[0], "features")


def _retrieved(queries: Mapping[str, np.ndarray], bank: Mapping[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    """Returns the first queries with their nearest neighbours in the bank.

    Returns:
      `retrieved` uint8 [queries, 1 + count, height, width, channels], each query before its neighbours, and `relevant`
      bool [queries, count], whether a neighbour has the label of the query.
    """
    from jaxdl.metrics.neighbours import nearest_neighbours

    first = {name: value[:_SHOWN] for name, value in queries.items()}
    indices, _ = nearest_neighbours(first["embedding"], bank["embedding"], min(count, len(bank["embedding"])))
    images = np.concatenate([first["image"][:, None], bank["image"][indices]], axis=1)
    return {"retrieved": images, "relevant": bank["label"][indices] == first["label"][:, None]}
