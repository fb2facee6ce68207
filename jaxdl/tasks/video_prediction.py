"""Video prediction."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl.errors import UserError
from jaxdl.tasks.parts.apply import example_means, float_outputs, per_example
from jaxdl.tasks.parts.model_task import ModelTask
from jaxdl.tasks.parts.pixels import unit_to_uint8
from jaxdl.training.task import Array, Batch, Evaluation, Names, Outcome, PyTree, Term
from jaxdl.viz.video import SHOWN, VideoPresentation


@dataclass(frozen=True, eq=False)
class VideoPrediction(ModelTask):
    """Prediction of the next frames of a video with binary cross-entropy per pixel (arXiv:1506.04214).

    Pixel values in [0, 1] are the targets of Bernoulli probabilities, so the loss is bounded below by their entropy.

    Trains the group "predictor" in one phase, "train", with the term `bce`, the mean over pixels in nats.

    Batches: `frames` uint8 [batch, context, height, width, channels] and `future` uint8 [batch, horizon, height, width,
    channels], the frames that follow.

    Evaluation metrics: `bce` and `mse`, of `pixel / 255`, over all pixels of the predicted frames. For predictions
    rounded to 8 bits: `ssim`, the mean over predicted frames, and `ssim_last`, that of the last one; `ssim_copy` and
    `ssim_copy_last`, the same of the last input frame, repeated. For pictures: `ssim_frames` and `ssim_copy_frames`
    [horizon], and of the first 4 videos `examples` uint8 [4, context + 2 horizon, h, w, c]: input, future, prediction.

    Predictions: `future` uint8 [batch, horizon, height, width, channels].

    Attributes:
      model: Model, `model(frames [batch, context, h, w, c] float in [0, 1], *, horizon, train) -> logits [batch,
        horizon, h, w, c]`, such as `ConvLSTMForecaster`.
      horizon: Number of frames to predict.
    """

    group: ClassVar[str] = "predictor"
    presentation = VideoPresentation()

    horizon: int

    def __post_init__(self):
        if self.horizon < 1:
            raise UserError(f"VideoPrediction.horizon={self.horizon} must be at least 1")

    def init(self, key: Array, batch: Batch) -> tuple[dict, dict]:
        return self.init_model(key, _unit(batch["frames"]), horizon=self.horizon)

    def loss(self, params: PyTree, variables: PyTree, batch: Batch, key: Array, step: Array, carry: PyTree) -> Outcome:
        logits, variables = self._logits(params, variables, batch, key)
        return Outcome({"bce": Term(*per_example(batch, _cross_entropy(logits, batch)))}, variables)

    def evaluate(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> Evaluation:
        logits, _ = self._logits(params, variables, batch)
        entropy, predicted = _cross_entropy(logits, batch), jax.nn.sigmoid(logits)
        errors = predicted - _unit(batch["future"])
        metrics = {
            "bce": per_example(batch, entropy),
            "mse": per_example(batch, example_means(jnp.square(errors))),
        }
        names = ("frames", "future")
        return Evaluation(metrics, {name: batch[name] for name in names} | {"predicted": unit_to_uint8(predicted)})

    def score(self, records: Mapping[str, np.ndarray], metrics: Mapping[str, Any], names: Names) -> dict[str, Any]:
        from jaxdl.metrics.restoration import ssim_of_frames

        frames, future, predicted = (records[name] for name in ("frames", "future", "predicted"))
        copies = np.repeat(frames[:, -1:], self.horizon, axis=1)
        by_frame = {
            name: ssim_of_frames(future, other).mean(0) for name, other in (("ssim", predicted), ("ssim_copy", copies))
        }
        scores: dict[str, Any] = {"examples": np.concatenate([frames, future, predicted], axis=1)[:SHOWN]}
        for name, values in by_frame.items():
            scores |= {name: float(values.mean()), f"{name}_last": float(values[-1]), f"{name}_frames": values}
        return scores

    @property
    def packages(self) -> Mapping[str, str]:
        return {"skimage": "restoration"}

    def predict(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> dict[str, Array]:
        logits, _ = self._logits(params, variables, batch)
        return {"future": unit_to_uint8(jax.nn.sigmoid(logits))}

    def _logits(
        self, params: PyTree, variables: PyTree, batch: Batch, key: Array | None = None
    ) -> tuple[Array, PyTree]:
        """Returns logits float32 [batch, horizon, h, w, c] and the new variables."""
        frames = _unit(batch["frames"])
        logits, variables = self.apply_model(params, variables, batch, key, frames, horizon=self.horizon)
        return float_outputs(logits, len(frames), self.horizon, *frames.shape[2:]), variables


def _unit(frames: Array) -> Array:
    return jnp.asarray(frames, jnp.float32) / 255.0


def _cross_entropy(logits: Array, batch: Batch) -> Array:
    """Returns the mean binary cross-entropy of each video, [batch].

    Raises:
      UserError: The data have another number of frames to predict than the task.
    """
    if logits.shape != batch["future"].shape:
        raise UserError(
            f"the data have {batch['future'].shape[1]} frames to predict, but task.horizon={logits.shape[1]}; use equal"
            " numbers"
        )
    return example_means(optax.sigmoid_binary_cross_entropy(logits, _unit(batch["future"])))
