"""Pictures: sizes, dependence on the data, and imports without pyplot."""

import subprocess
import sys

import numpy as np
import pytest

from jaxdl.viz.classification import confusion_matrix, prediction_grid
from jaxdl.viz.curves import compared_curves, learning_curves
from jaxdl.viz.figure import shorten

VERMILION = np.array([213, 94, 0])


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


def marked_pixels(picture):
    return int((np.abs(picture.astype(int) - VERMILION).sum(-1) < 30).sum())


@pytest.mark.parametrize(("count", "channels"), [(1, 1), (24, 3), (7, 1)])
def test_prediction_grid_depends_on_predictions(count, channels):
    labels = np.arange(count) % 10
    picture = prediction_grid(images(count, channels), labels, labels, np.full(count, 0.9), ["$cat"] * 10)
    assert is_picture(picture)
    assert marked_pixels(picture) == 0


def test_a_wrong_prediction_is_marked():
    picture = prediction_grid(images(6), np.zeros(6, int), np.array([0, 0, 1, 0, 0, 0]), np.ones(6), ["cat", "dog"])
    assert marked_pixels(picture[:, 300:450]) > 200
    assert marked_pixels(picture[:, :290]) == 0


def test_wrong_predictions_are_visible_in_grayscale():
    labels = np.zeros(2, int)
    correct, incorrect = (
        prediction_grid(images(2), labels, predictions, np.ones(2), ["cat", "dog"]) for predictions in (labels, [0, 1])
    )
    below = np.s_[150:, 150:]
    assert (incorrect.mean(-1) < 200)[below].sum() > 1.5 * (correct.mean(-1) < 200)[below].sum()


def test_only_the_first_24_images_are_drawn():
    labels = np.zeros(30, int)
    grid_of_30, grid_of_24 = (
        prediction_grid(images(30)[:n], labels[:n], labels[:n], np.ones(n), ["cat"]) for n in (30, 24)
    )
    np.testing.assert_array_equal(grid_of_30, grid_of_24)


def test_predictions_without_labels_or_names_are_drawn():
    assert is_picture(prediction_grid(images(3), None, np.array([3, 4, 5]), np.ones(3), []))
    with pytest.raises(ValueError, match="no images"):
        prediction_grid(images(0), None, [], [], [])


@pytest.mark.parametrize("classes", [2, 10, 100, 1000])
def test_confusion_matrix_depends_on_its_counts(classes):
    counts = np.random.default_rng(0).integers(0, 5, (classes, classes)) + 50 * np.eye(classes)
    names = [f"a long name of the class number {index}" for index in range(classes)]
    picture = confusion_matrix(counts, names)
    assert is_picture(picture)
    np.testing.assert_array_equal(picture, confusion_matrix(counts * 0.25, names))


def test_confusion_matrix_with_absent_classes_is_drawn():
    assert is_picture(confusion_matrix(np.zeros((3, 3)), ["a", "b", "c"]))
    with pytest.raises(ValueError, match=r"\[2, 3\]"):
        confusion_matrix(np.zeros((2, 3)), [])


def test_learning_curves_depend_on_rows():
    rows = [{"step": step, "split": "train", "loss": 1 / step, "grad_norm": 1.0} for step in range(1, 20)]
    few = learning_curves(rows)
    for step in (10, 19):
        rows.append({"step": step, "split": "validation", "loss": 0.2, "accuracy": 0.5, "confusion": [[1, 2]]})
    rows.append({"step": 19, "split": "test", "loss": float("nan"), "accuracy": 0.5})
    with_test = learning_curves(rows)
    assert is_picture(few)
    assert is_picture(with_test)
    assert few.shape[1] == 600
    assert with_test.shape[1] == 800


def test_compared_curves_are_over_training_time():
    def run(seconds, final):
        rows: list[dict] = [{"step": 1 + i, "split": "train", "loss": 1 / (1 + i)} for i in range(19)]
        rows = [{**row, "useful_seconds": seconds * row["step"]} for row in rows]
        return [*rows, {"step": 19, "split": "validation", "loss": final, "accuracy": 0.5}]

    picture = compared_curves({"slow": run(60.0, 0.3), "no TeX: $_{$": run(6.0, 0.3)})
    assert is_picture(picture)
    assert picture.shape[1] == 800
    assert (picture != compared_curves({"slow": run(60.0, 0.3), "no TeX: $_{$": run(30.0, 0.3)})).any()
    test = {"step": 19, "split": "test", "loss": 0.1}
    single = {"one": run(1.0, 0.2)}
    np.testing.assert_array_equal(compared_curves(single), compared_curves({"one": [*single["one"], test]}))
    assert compared_curves({**single, "other": [{"step": 1, "split": "train", "reward": 1.0}]}).shape[0] < 200


@pytest.mark.parametrize(
    "rows",
    [[], [{"step": 1, "split": "train", "grad_norm": 1.0}], [{"step": 1, "split": "train", "loss": float("nan")}]],
)
def test_learning_curves_without_metrics_are_a_message(rows):
    picture = learning_curves(rows)
    assert picture.dtype == np.uint8
    assert picture.shape[0] < 200
    assert picture.min() < 150


def test_metrics_of_speed_are_not_drawn():
    rows = [{"step": step, "split": split, "loss": 1.0} for step in (1, 2) for split in ("train", "test")]
    speed = {
        "step_time": 0.1,
        "examples_per_second": 9.0,
        "useful_seconds": 3.0,
        "generator/grad_norm": 2.0,
        "mfu": 0.3,
    }
    np.testing.assert_array_equal(learning_curves([row | speed for row in rows]), learning_curves(rows))


@pytest.mark.parametrize("missing", [float("nan"), None, float("inf")])
def test_non_finite_values_are_gaps(missing):
    losses = [3.0, 2.0, 1.5, 1.2, 1.1]
    rows = [{"step": step, "split": "train", "loss": loss} for step, loss in enumerate(losses)]
    bridged = [*rows[:2], *rows[3:]]
    holed = [*rows[:2], {"step": 2, "split": "train", "loss": missing}, *rows[3:]]
    assert (learning_curves(holed) != learning_curves(bridged)).any()


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_single_point_is_visible(split):
    picture = learning_curves([{"step": 5, "split": split, "loss": 2.0}]).astype(int)
    colored = picture.max(-1) - picture.min(-1) > 100
    assert colored[80:].sum() > 10


def test_names_are_shortened():
    assert shorten("ankle boot", 10) == "ankle boot"
    assert shorten("ankle boots", 10) == "ankle boo…"


def test_tasks_import_no_matplotlib_and_drawing_no_pyplot():
    program = (
        "import sys, numpy as np, jaxdl.tasks.image_classification, jaxdl.viz.classification as c, jaxdl.viz.curves;"
        "assert 'matplotlib' not in sys.modules;"
        "c.confusion_matrix(np.eye(2), []); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
