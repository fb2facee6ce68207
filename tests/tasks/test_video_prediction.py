"""Video prediction: loss and metrics against numpy and scikit-image; pictures, errors."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage.metrics import structural_similarity

from jaxdl.errors import UserError
from jaxdl.tasks.video_prediction import VideoPrediction

KEY = jax.random.key(0)
HORIZON = 3


class Scaled(nn.Module):
    """Predicts a multiple of the last frame, as logits."""

    @nn.compact
    def __call__(self, frames, *, horizon, train):
        scale = self.param("scale", lambda key: jnp.float32(2.0))
        return jnp.repeat(scale * frames[:, -1:] - 1, horizon, axis=1)


def make_batch(size=5, horizon=HORIZON):
    draw = np.random.default_rng(0)
    shapes = {"frames": (size, 2, 16, 12, 1), "future": (size, horizon, 16, 12, 1)}
    batch = {name: draw.integers(0, 256, shape, dtype=np.uint8) for name, shape in shapes.items()}
    return batch | {"weight": np.array([1] * (size - 1) + [0], np.float32), "index": np.arange(size)}


TASK = VideoPrediction(Scaled(), horizon=HORIZON)


def evaluated(batch):
    params, variables = TASK.init(KEY, batch)
    return params, variables, TASK.evaluate(params, variables, batch, KEY)


def expected(batch):
    """Computes the predicted probabilities and the true values of the valid videos."""
    logits = 2 * np.repeat(batch["frames"][:-1, -1:] / 255, HORIZON, axis=1) - 1
    return 1 / (1 + np.exp(-logits)), batch["future"][:-1] / 255


def test_loss_and_metrics_match_numpy():
    batch = make_batch()
    params, variables, evaluation = evaluated(batch)
    probability, value = expected(batch)
    entropy = -(value * np.log(probability) + (1 - value) * np.log(1 - probability)).mean((1, 2, 3, 4))
    terms = TASK.phases[0].loss(params, variables, batch, KEY, 0, {}).terms
    np.testing.assert_allclose(terms["bce"][:2], (entropy.sum(), 4), rtol=1e-5)
    np.testing.assert_allclose(evaluation.metrics["bce"], (entropy.sum(), 4), rtol=1e-5)
    squares = np.square(probability - value).mean((1, 2, 3, 4)).sum()
    np.testing.assert_allclose(evaluation.metrics["mse"], (squares, 4), rtol=1e-5)


def test_ssim_is_that_of_scikit_image_by_frame():
    batch = make_batch()
    *_, evaluation = evaluated(batch)
    records = {name: np.asarray(value)[:-1] for name, value in evaluation.records.items()}
    scores = TASK.score(records, {}, {})
    options = {"data_range": 255, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    last = [
        structural_similarity(true[-1, ..., 0], predicted[-1, ..., 0], **options)
        for true, predicted in zip(records["future"], records["predicted"])
    ]
    assert scores["ssim_last"] == pytest.approx(np.mean(last))
    assert scores["ssim"] == pytest.approx(scores["ssim_frames"].mean())
    copies = [
        structural_similarity(true[0, ..., 0], frames[-1, ..., 0], **options)
        for true, frames in zip(records["future"], records["frames"])
    ]
    assert scores["ssim_copy_frames"][0] == pytest.approx(np.mean(copies))


def test_perfect_predictions_have_ssim_1():
    frames = np.random.default_rng(0).integers(0, 256, (2, 2, 16, 16, 1), dtype=np.uint8)
    future = np.repeat(frames[:, -1:], HORIZON, axis=1)
    scores = TASK.score({"frames": frames, "future": future, "predicted": future}, {}, {})
    assert (scores["ssim"], scores["ssim_copy_last"]) == (pytest.approx(1), pytest.approx(1))


def test_predictions_are_8_bit_frames_and_pictures_show_them():
    batch = make_batch()
    params, variables, evaluation = evaluated(batch)
    outputs = TASK.predict(params, variables, {"frames": batch["frames"]}, KEY)
    probability, _ = expected(batch)
    np.testing.assert_allclose(outputs["future"][:-1], np.rint(255 * probability), atol=1)
    records = {name: np.asarray(value) for name, value in evaluation.records.items()}
    picture = TASK.presentation.pictures(batch, outputs, TASK.score(records, {}, {}), {})["predictions"]
    assert picture.dtype == np.uint8
    assert picture.shape[0] > 12 * 40  # four videos of three rows
    one = TASK.presentation.picture({"frames": batch["frames"][0]}, {"future": outputs["future"][0]}, {})
    assert one.shape[1] == picture.shape[1]
    assert TASK.presentation.readable({}, {"future": outputs["future"][0]}, {}) == {"frames": HORIZON}


def test_another_number_of_frames_is_refused():
    batch = make_batch(horizon=4)
    params, variables = TASK.init(KEY, batch)
    with pytest.raises(UserError, match=r"4 frames to predict, but task\.horizon=3;"):
        TASK.evaluate(params, variables, batch, KEY)
    with pytest.raises(UserError, match="horizon=0"):
        VideoPrediction(Scaled(), horizon=0)
