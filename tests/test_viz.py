"""Pictures: sizes, that their content follows the data, and that nothing of pyplot is left behind."""

import subprocess
import sys

import numpy as np
import pytest

from jaxdl.viz.classification import confusion_matrix, prediction_grid
from jaxdl.viz.curves import learning_curves
from jaxdl.viz.figure import shorten

RED = np.array([197, 34, 31])


def images(count, channels=1):
    gray = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 1), dtype=np.uint8)
    return np.repeat(gray, channels, axis=-1)


def is_picture(picture):
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
    assert picture.shape[2] == 3
    assert picture.shape[1] <= 1200
    assert picture.min() < 100
    return True


def red_pixels(picture):
    return int((np.abs(picture.astype(int) - RED).sum(-1) < 30).sum())


@pytest.mark.parametrize(("count", "channels"), [(1, 1), (24, 3), (7, 1)])
def test_prediction_grid(count, channels):
    labels = np.arange(count) % 10
    picture = prediction_grid(images(count, channels), labels, labels, np.full(count, 0.9), ["$cat"] * 10)
    assert is_picture(picture)
    assert red_pixels(picture) == 0


def test_a_wrong_prediction_is_marked_in_red():
    picture = prediction_grid(images(6), np.zeros(6, int), np.array([0, 0, 1, 0, 0, 0]), np.ones(6), ["cat", "dog"])
    assert red_pixels(picture[:, 300:450]) > 200
    assert red_pixels(picture[:, :290]) == 0


def test_predictions_without_labels_and_without_names():
    assert is_picture(prediction_grid(images(3), None, np.array([3, 4, 5]), np.ones(3), []))
    with pytest.raises(ValueError, match="no images"):
        prediction_grid(images(0), None, [], [], [])


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_confusion_matrix(classes):
    counts = np.random.default_rng(0).integers(0, 5, (classes, classes)) + 50 * np.eye(classes)
    names = [f"a long name of the class number {index}" for index in range(classes)]
    picture = confusion_matrix(counts, names)
    assert is_picture(picture)
    np.testing.assert_array_equal(picture, confusion_matrix(counts * 0.25, names))


def test_confusion_matrix_of_classes_that_never_occur():
    assert is_picture(confusion_matrix(np.zeros((3, 3)), ["a", "b", "c"]))
    with pytest.raises(ValueError, match=r"\[2, 3\]"):
        confusion_matrix(np.zeros((2, 3)), [])


def test_learning_curves():
    rows = [{"step": step, "split": "train", "loss": 1 / step, "grad_norm": 1.0} for step in range(1, 20)]
    few = learning_curves(rows)
    for step in (10, 19):
        rows.append({"step": step, "split": "validation", "loss": 0.2, "accuracy": 0.5, "confusion": [[1, 2]]})
    rows.append({"step": 19, "split": "test", "loss": float("nan"), "accuracy": 0.5})
    more = learning_curves(rows)
    assert is_picture(few)
    assert is_picture(more)
    assert few.shape[1] == 600
    assert more.shape[1] == 800
    with pytest.raises(ValueError, match="no loss"):
        learning_curves([{"step": 1, "split": "train", "grad_norm": 1.0}])


def test_names_are_shortened():
    assert shorten("ankle boot", 10) == "ankle boot"
    assert shorten("ankle boots", 10) == "ankle boo…"


def test_importing_the_task_loads_no_matplotlib_and_drawing_no_pyplot():
    program = (
        "import sys, numpy as np, jaxdl.tasks.image_classification, jaxdl.viz.classification as c, jaxdl.viz.curves;"
        "assert 'matplotlib' not in sys.modules;"
        "c.confusion_matrix(np.eye(2), []); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
