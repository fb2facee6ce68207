"""Transforms from stored boxes and masks to features of fixed shape."""

import io
import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxdl.data.dataset import Data, Dataset
from jaxdl.data.image.boxes_and_masks import Mask, Objects, Relabel, RelabelMask
from jaxdl.data.image.resize import RandomScale, ResizePad
from jaxdl.data.image.transforms import RandomFlip
from jaxdl.data.pipeline import Batches, eval_batches
from jaxdl.data.random import Draws
from jaxdl.data.source import ExampleSource
from jaxdl.data.store.prepare import class_names
from jaxdl.data.synthetic.images import MockImages
from jaxdl.errors import UserError


def example(boxes, labels=None, crowd=None, height=20, width=40, **more) -> dict[str, Any]:
    """Returns a batch of one example as read by `ExampleSource`; `boxes` in pixels."""
    boxes = np.array(boxes, np.float32).reshape(1, -1, 4) / np.array([height, width, height, width], np.float32)
    label = np.arange(boxes.shape[1]) if labels is None else np.array(labels)
    batch = {"image": np.zeros((1, height, width, 3), np.uint8), "objects/bbox": boxes}
    batch["objects/label"] = label.astype(np.int32)[None]
    if crowd is not None:
        batch["objects/is_crowd"] = np.array(crowd, bool)[None]
    return batch | more


def run(transform, batch):
    return transform(batch, Draws(0, np.arange(len(batch["image"]))))


def test_objects_become_padded_boxes_in_pixels():
    extra: Any = {"objects/area": np.zeros((1, 2), np.float32)}
    batch = run(Objects(3), example([(0, 0, 20, 40), (5, 10, 15, 30)], labels=(4, 2), **extra))
    assert {name: (value.shape, str(value.dtype)) for name, value in batch.items()} == {
        "image": ((1, 20, 40, 3), "uint8"),
        "boxes": ((1, 3, 4), "float32"),
        "box_label": ((1, 3), "int32"),
        "box_weight": ((1, 3), "float32"),
    }
    np.testing.assert_allclose(batch["boxes"][0], [(0, 0, 20, 40), (5, 10, 15, 30), (0, 0, 0, 0)], rtol=1e-6)
    assert batch["box_label"].tolist() == [[4, 2, 0]]
    assert batch["box_weight"].tolist() == [[1, 1, 0]]
    empty = run(Objects(2), example([]))
    assert empty["boxes"].tolist() == [[[0] * 4] * 2]
    assert empty["box_weight"].tolist() == [[0, 0]]


def test_the_largest_boxes_are_kept_before_crowd_regions():
    boxes = [(0, 0, 2, 2), (0, 0, 9, 9), (0, 0, 20, 40), (0, 0, 5, 5)]
    batch = run(Objects(2), example(boxes, crowd=(0, 0, 1, 0)))
    assert batch["box_label"].tolist() == [[1, 3]]
    assert batch["box_crowd"].tolist() == [[0, 0]]
    batch = run(Objects(5), example(boxes, crowd=(0, 0, 1, 0)))
    assert batch["box_label"].tolist() == [[0, 1, 2, 3, 0]]
    assert batch["box_weight"].tolist() == [[1, 1, 0, 1, 0]]
    assert batch["box_crowd"].tolist() == [[0, 0, 1, 0, 0]]
    np.testing.assert_allclose(batch["boxes"][0, 2], (0, 0, 20, 40))


@settings(max_examples=50, deadline=None)
@given(sides=st.lists(st.integers(0, 19), max_size=9), limit=st.integers(1, 6))
def test_kept_boxes_are_at_least_as_large_as_dropped_ones(sides, limit):
    batch = run(Objects(limit, drop_empty=True), example([(0, 0, side, side) for side in sides]))
    kept_sides = sorted(batch["boxes"][0, :, 2].round().astype(int).tolist(), reverse=True)
    expected = sorted((side for side in sides if side), reverse=True)[:limit]
    assert kept_sides == expected + [0] * (limit - len(expected))
    labels = batch["box_label"][0][batch["box_weight"][0] > 0].tolist()
    assert labels == sorted(labels)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (example([(0, 0, 5, 5), (3, 3, 3, 9)]), "box 1 has zero area.*drop_empty"),
        (example([(9, 9, 3, 3)]), "box 0 has zero area"),
        (example([(0, 0, 5, 42)]), "exceeds the image by more than a pixel"),
        (example([(-1.5, 0, 5, 4)]), r"box 0 at \[-1\.5, 0\.0, 5\.0, 4\.0\].*20 x 40.*exceeds"),
        (example([(0, np.nan, 5, 4)]), "is not finite"),
        (example([(0, 0, np.inf, 4)]), "is not finite"),
        (example([(0, 0, 5, 5)], labels=(-1,)), "negative class id -1"),
        (example([(0, 0, 5, 5), (0, 0, 5, 5)], labels=(0, 7)), "box 1 has class id 7, but Objects.classes is 7"),
        (example([], height=5, width=1) | {"image": np.zeros((1, 5, 0, 3), np.uint8)}, "5 x 0 has no pixels"),
    ],
)
def test_invalid_objects_are_reported_with_their_example(batch, message):
    with pytest.raises(UserError, match=f"^example 12: .*{message}") as error:
        run(Objects(4, classes=7), batch | {"index": np.array([12], np.int32)})
    assert "\n" not in str(error.value)


def test_errors_name_the_file_or_the_missing_feature():
    batch = example([(0, 0, 0, 0)])
    with pytest.raises(UserError, match=r"row 0 of the batch \(07\.jpg\)"):
        run(Objects(4), batch | {"image/filename": np.array([b"07.jpg"])})
    with pytest.raises(UserError, match="no feature 'objects/bbox'; did you mean 'objects/box'"):
        run(Objects(4), {"image": batch["image"], "objects/label": batch["objects/label"], "objects/box": None})
    with pytest.raises(UserError, match="limit"):
        Objects(0)
    with pytest.raises(UserError, match=r"\(1, 1, 3\), but"):
        run(Objects(1), batch | {"objects/bbox": batch["objects/bbox"][..., :3]})
    with pytest.raises(UserError, match="integers"):
        run(Objects(1), batch | {"objects/label": np.array([[0.5]])})


def test_a_box_up_to_a_pixel_outside_is_clipped():
    batch = run(Objects(1), example([(-0.5, 3, 20.9, 40.5)]))
    np.testing.assert_allclose(batch["boxes"][0, 0], (0, 3, 20, 40), rtol=1e-6)


def test_relabel_works_before_and_after_objects():
    batch = example([(0, 0, 9, 9), (0, 0, 8, 8), (0, 0, 7, 7)], labels=(0, 1, 2), crowd=(0, 0, 1))
    table = Relabel((-1, 5, 5))
    before = run(Objects(2), run(table, batch))
    assert before["box_label"].tolist() == [[5, 5]]
    assert before["box_weight"].tolist() == [[1, 0]]
    assert before["box_crowd"].tolist() == [[0, 1]]
    after = run(table, run(Objects(4), batch))
    assert after["box_label"].tolist() == [[0, 5, 5, 0]]
    assert after["box_weight"].tolist() == [[0, 1, 0, 0]]
    assert after["box_crowd"].tolist() == [[0, 0, 1, 0]]
    assert (after["boxes"][0, 0] == 0).all()
    padding = run(Relabel((3, 3, 3)), run(Objects(4), batch))
    assert padding["box_label"].tolist() == [[3, 3, 3, 0]]
    for invalid in (run(Objects(4), batch), batch):
        with pytest.raises(UserError, match=r"class id 2, but Relabel\.table ends at 1"):
            run(Relabel((0, 0)), invalid)
    for table in ((), (0, -2)):
        with pytest.raises(UserError, match=r"Relabel\.table"):
            Relabel(table)
    two = {name: np.concatenate([value, value]) for name, value in batch.items()}
    with pytest.raises(UserError, match="put it after"):
        run(Relabel((-1, 0, 0)), two)


def pets(value, dtype: Any = np.uint8, **more):
    mask = np.array(value, dtype).reshape(1, 2, 3, 1)
    return {"image": np.zeros((1, 2, 3, 3), np.uint8), "segmentation_mask": mask} | more


def test_masks_start_from_zero():
    batch = run(Mask(), pets([1, 2, 3, 255, 1, 1]))
    assert set(batch) == {"image", "mask"}
    assert batch["mask"].dtype == np.uint8
    assert batch["mask"].tolist() == [[[0, 1, 2], [255, 0, 0]]]
    assert run(Mask(unlabelled=(3,)), pets([1, 2, 3, 3, 1, 1]))["mask"].tolist() == [[[0, 1, 255], [255, 0, 0]]]
    flat = {"image": np.zeros((1, 2, 3, 3), np.uint8), "seg": np.ones((1, 2, 3), bool)}
    assert run(Mask("seg", offset=0), flat)["mask"].sum() == 6


@pytest.mark.parametrize(
    ("mask", "batch", "message"),
    [
        (Mask(), pets([0, 1, 1, 1, 1, 1]), "example 3: .*class id -1"),
        (Mask(classes=2), pets([1, 2, 3, 1, 1, 1]), "example 3: .*class id 2, outside 0 to 1"),
        (Mask(offset=0), pets([300, 1, 1, 1, 1, 1], np.int32), "class id 300"),
        (Mask(), pets([1] * 6) | {"image": np.zeros((1, 3, 2, 3), np.uint8)}, r"\(2, 3\), but the image has \(3, 2\)"),
        (Mask(), pets([1] * 6) | {"image": np.zeros((1, 0, 2, 3), np.uint8)}, "no pixels"),
        (Mask(), pets([1] * 6, np.float32), "needs integer class ids"),
        (Mask("segmentation"), pets([1] * 6), "did you mean 'segmentation_mask'"),
    ],
)
def test_invalid_masks_are_refused(mask, batch, message):
    with pytest.raises(UserError, match=message):
        run(mask, batch | {"index": np.array([3], np.int32)})


class Photographs:
    """Examples of different sizes and object counts; a block has brightness 40 (class + 1)."""

    def __len__(self):
        return 13

    def __getitem__(self, number):
        height, width = 20 + number, 45 - number
        image = np.zeros((height, width, 3), np.uint8)
        bbox = np.zeros((number % 4, 4), np.float32)
        for row in range(number % 4):
            top, left = 2 + row, 10 * row
            image[top : top + 8, left : left + 8] = 40 * (1 + row)
            bbox[row] = np.array([top, left, top + 8, left + 8]) / (height, width, height, width)
        objects = {"bbox": bbox, "label": np.arange(number % 4), "is_crowd": np.zeros(number % 4, bool)}
        mask = np.where(image[..., :1] > 0, 1, 2).astype(np.uint8)
        return {"image": image, "image/filename": b"x.jpg", "objects": objects, "segmentation_mask": mask}


PHOTOGRAPHS = ExampleSource(Photographs(), range(13), "photographs")
AUGMENT = (Objects(3), Mask(), RandomFlip(), RandomScale(32, 32))


def data(**fields):
    return Data(**({"train": MockImages(), "evals": {}, "batch_size": 6, "augment": AUGMENT} | fields))


def test_images_of_any_size_are_batched_after_resizing():
    for threads in (0, 2):
        batches = Batches(PHOTOGRAPHS, data(threads=threads), seed=0)
        iterator = batches.iterate(0)
        for step, batch in itertools.islice(iterator, 3):
            assert {name: value.shape[1:] for name, value in batch.items()} == {
                "image": (32, 32, 3),
                "boxes": (3, 4),
                "box_label": (3,),
                "box_weight": (3,),
                "box_crowd": (3,),
                "mask": (32, 32),
                "index": (),
                "weight": (),
            }
            for name, value in batches.at(step).items():
                np.testing.assert_array_equal(value, batch[name])
            for row, object_ in np.argwhere(batch["box_weight"] > 0):
                top, left, bottom, right = batch["boxes"][row, object_]
                middle = batch["image"][row, int((top + bottom) / 2), int((left + right) / 2), 0]
                assert abs(int(middle) - 40 * (1 + batch["box_label"][row, object_])) <= 2
                assert batch["mask"][row, int((top + bottom) / 2), int((left + right) / 2)] == 0
        iterator.close()
    passes = [
        list(eval_batches(PHOTOGRAPHS, size, (Objects(3), Mask(), ResizePad(32, 32)), threads=1)) for size in (4, 5)
    ]
    for name in ("boxes", "mask", "index"):
        real = [np.concatenate([batch[name][batch["weight"] > 0] for batch in epoch]) for epoch in passes]
        np.testing.assert_array_equal(real[0], real[1])


def test_the_pipeline_names_the_example_of_the_source():
    with pytest.raises(UserError, match=r"^example (3|7|11) \(x\.jpg\): box 2 has class id 2"):
        list(eval_batches(PHOTOGRAPHS, 4, (Objects(3, classes=2), Mask(), ResizePad(32, 32))))


BUILDER = """
import io
import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

class Builder(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        objects = {
            "bbox": tfds.features.BBoxFeature(),
            "label": tfds.features.ClassLabel(names=["cat", "dog", "cow"]),
            "is_crowd": np.bool_,
        }
        features = {"image": tfds.features.Image(shape=(None, None, 3)), "objects": tfds.features.Sequence(objects)}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for number in range(5):
            file = io.BytesIO()
            Image.new("RGB", (30 + number, 20)).save(file, "PNG")
            file.seek(0)
            box = tfds.features.BBox(ymin=0.1, xmin=0.2, ymax=0.5, xmax=0.6)
            objects = [{"bbox": box, "label": row, "is_crowd": row == 2} for row in range(number % 4)]
            yield number, {"image": file, "objects": objects}
"""


def test_sequences_of_tfds_are_read_without_tensorflow(tmp_path, monkeypatch):
    (tmp_path / "own_objects").mkdir()
    (tmp_path / "own_objects/animals.py").write_text(BUILDER)
    monkeypatch.syspath_prepend(str(tmp_path))
    source = Dataset("own_objects.animals", "train").load()
    counts = []
    for index in range(5):
        raw = source.read(np.array([index]))
        assert sorted(raw) == ["image", "objects/bbox", "objects/is_crowd", "objects/label"]
        batch = run(ResizePad(20, 34), run(Objects(4, classes=3), run(Relabel((0, 1, 2)), raw)))
        counts.append(int(batch["box_weight"].sum() + batch["box_crowd"].sum()))
        if counts[-1]:
            width = raw["image"].shape[2]
            offset = (34 - width) // 2
            np.testing.assert_allclose(
                batch["boxes"][0, 0], (2, 0.2 * width + offset, 10, 0.6 * width + offset), rtol=1e-5
            )
    assert sorted(counts) == [0, 0, 1, 2, 3]


def test_a_mask_from_an_image_file_is_read():
    file = io.BytesIO()
    Image.fromarray(np.array([[1, 2, 3]], np.uint8)).save(file, "PNG")
    value = np.asarray(Image.open(file))[None, ..., None]
    assert run(Mask(), {"image": np.zeros((1, 1, 3, 3), np.uint8), "segmentation_mask": value})["mask"].tolist() == [
        [[0, 1, 2]]
    ]


def test_a_detection_set_of_tfds_names_its_classes():
    import tensorflow_datasets as tfds

    label = tfds.features.ClassLabel(names=["cat", "dog"])
    objects = tfds.features.Sequence({"bbox": tfds.features.BBoxFeature(), "label": label})
    features = tfds.features.FeaturesDict({"image": tfds.features.Image(), "objects": objects})
    assert class_names(features) == {"objects/label": ("cat", "dog"), "box_label": ("cat", "dog")}


def test_relabel_mask_renumbers_classes():
    batch = {"image": np.zeros((1, 2, 2, 3), np.uint8), "mask": np.array([[[0, 1], [2, 255]]], np.uint8)}
    mask = RelabelMask((0, 1, 1))(batch, Draws(0, np.arange(1)))["mask"]
    np.testing.assert_array_equal(mask, [[[0, 1], [1, 255]]])
    with pytest.raises(UserError, match=r"class id 2, but RelabelMask.table ends at 1"):
        RelabelMask((0, 1))(batch, Draws(0, np.arange(1)))
    with pytest.raises(UserError, match="must hold an id from 0 to 255"):
        RelabelMask((0, -1))
