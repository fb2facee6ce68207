"""Tests of data sets in the COCO layout and of errors with file and id."""

import copy
import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxdl.data.dataset import Data, Dataset
from jaxdl.data.formats.coco import Coco
from jaxdl.data.formats.coco_objects import rasterize, run_lengths
from jaxdl.data.image.boxes_and_masks import Objects
from jaxdl.data.image.resize import ResizePad
from jaxdl.data.labels import align
from jaxdl.data.pipeline import Batches
from jaxdl.data.source import skipped_files
from jaxdl.errors import UserError

SQUARE = [[2, 1, 6, 1, 6, 4, 2, 4]]  # x 2 to 6, y 1 to 4
SMALL = [[3, 2, 5, 2, 5, 3, 3, 3]]
CROWD = {"size": [8, 10], "counts": [0, 16, 64]}  # the first two columns, run lengths down the columns


def content():
    annotations = [
        {"id": 11, "image_id": 5, "category_id": 7, "bbox": [3, 2, 2, 1], "segmentation": SMALL, "iscrowd": 0},
        {"id": 10, "image_id": 5, "category_id": 3, "bbox": [2, 1, 4, 3], "segmentation": SQUARE, "iscrowd": 0},
        {"id": 12, "image_id": 5, "category_id": 3, "bbox": [0, 0, 2, 8], "segmentation": CROWD, "iscrowd": 1},
        {"id": 20, "image_id": 9, "category_id": 7, "bbox": [-0.5, 0, 4, 4.5], "segmentation": [[0, 0, 4, 0, 4, 4]]},
    ]
    images = [
        {"id": 9, "file_name": "b.png", "width": 4, "height": 4},
        {"id": 5, "file_name": "a.png", "width": 10, "height": 8},
        {"id": 6, "file_name": "empty.png", "width": 3, "height": 5},
    ]
    categories = [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}]
    return {"images": images, "annotations": annotations, "categories": categories}


def write(root, split="val", images="val", json_file="annotations/instances_{split}.json", change=lambda c: None):
    document = content()
    for record in document["images"]:
        path = root / images / record["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (record["width"], record["height"]), (record["id"], 0, 0)).save(path)
    change(document)
    path = root / json_file.format(split=split)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def examples(source):
    """Returns examples by image id, which equals the red value."""
    batches = [source.read(np.array([row])) for row in range(len(source))]
    return {int(batch["image"][0, 0, 0, 0]): {name: value[0] for name, value in batch.items()} for batch in batches}


def test_boxes_have_the_tfds_format(tmp_path):
    write(tmp_path)
    source = Dataset(f"coco:{tmp_path}", "val").load()
    assert len(source) == 3
    assert not source.in_memory
    assert source.names["box_label"] == ("cat", "dog")
    assert source.names["mask"] == ("background", "cat", "dog")
    by_id = examples(pickle.loads(pickle.dumps(source)))
    assert set(by_id) == {5, 6, 9}
    assert set(by_id[5]) == {"image", "objects/bbox", "objects/label", "objects/is_crowd"}
    assert by_id[5]["image"].shape == (8, 10, 3)
    boxes = [(2 / 8, 0.3, 3 / 8, 0.5), (1 / 8, 0.2, 4 / 8, 0.6), (0, 0, 1, 0.2)]
    np.testing.assert_allclose(by_id[5]["objects/bbox"], boxes, rtol=1e-6)
    assert by_id[5]["objects/label"].tolist() == [1, 0, 0]
    assert by_id[5]["objects/is_crowd"].tolist() == [False, False, True]
    np.testing.assert_array_equal(by_id[9]["objects/bbox"], [(0, 0, 1, 0.875)])  # up to a pixel outside is clipped
    assert by_id[6]["objects/bbox"].shape == (0, 4)
    assert {value.dtype.name for value in by_id[5].values()} == {"uint8", "float32", "int32", "bool"}


def test_masks_and_instances_are_rasterized(tmp_path):
    write(tmp_path)
    by_id = examples(Dataset(f"coco:{tmp_path}", "val", features=("image", "mask", "instances", "image/id")).load())
    assert set(by_id[5]) == {"image", "mask", "instances", "image/id"}
    assert by_id[5]["image/id"] == 5
    mask, instances = np.zeros((8, 10), int), np.zeros((8, 10), int)
    mask[:, :2] = 255
    mask[1:4, 2:6], instances[1:4, 2:6] = 1, 2
    mask[2:3, 3:5], instances[2:3, 3:5] = 2, 1  # the smaller one is on top in any order of the file
    np.testing.assert_array_equal(by_id[5]["mask"], mask)
    np.testing.assert_array_equal(by_id[5]["instances"], instances)
    assert (by_id[5]["mask"].dtype, by_id[5]["instances"].dtype) == (np.uint8, np.int32)
    assert (by_id[6]["mask"] == 0).all()


def test_compressed_and_plain_run_lengths_agree(tmp_path):
    from pycocotools import mask as runs

    inside = np.zeros((8, 10), np.uint8, order="F")
    inside[3:7, 1:9] = 1
    counts = runs.encode(inside)["counts"]
    text = counts.decode() if isinstance(counts, bytes) else counts

    def change(document):
        document["annotations"][0]["segmentation"] = {"size": [8, 10], "counts": text}
        del document["annotations"][1:]

    write(tmp_path, change=change)
    by_id = examples(Dataset(f"coco:{tmp_path}", "val", features=("image", "mask")).load())
    np.testing.assert_array_equal(by_id[5]["mask"], 2 * inside)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 1), min_size=1, max_size=400), st.integers(1, 20))
def test_compressed_run_lengths_match_pycocotools(bits, height):
    from pycocotools import mask as runs

    width = -(-len(bits) // height)
    inside = np.zeros((height, width), np.uint8, order="F")
    inside.T.reshape(-1)[: len(bits)] = bits
    counts = runs.encode(inside)["counts"]
    text = counts.decode() if isinstance(counts, bytes) else counts
    lengths = run_lengths(text)
    assert sum(lengths) == height * width
    np.testing.assert_array_equal(np.repeat(np.arange(len(lengths)) % 2, lengths), inside.T.reshape(-1))
    size = {"size": [height, width], "counts": text}
    np.testing.assert_array_equal(rasterize(size, (height, width), "annotation 1"), inside)


@pytest.mark.parametrize(
    ("images", "json_file"),
    [
        ("val", "annotations/instances_{split}.json"),
        ("images", "annotations/instances_{split}.json"),
        ("images/val", "{split}.json"),
    ],
)
def test_image_and_annotation_folders_are_found(tmp_path, images, json_file):
    write(tmp_path, images=images, json_file=json_file)
    assert len(Dataset(f"coco:{tmp_path}", "val").load()) == 3


def test_parts_of_splits_have_distinct_fingerprints(tmp_path):
    write(tmp_path)
    write(tmp_path, "train", "train")
    name = f"coco:{tmp_path}"
    complete, head, tail = (Dataset(name, split).load() for split in ("val", "val[:2]", "val[2:]"))
    assert (len(complete), len(head), len(tail)) == (3, 2, 1)
    assert len(Dataset(name, "train+val").load()) == len(Dataset(name, "all").load()) == 6
    assert set(examples(head)) | set(examples(tail)) == {5, 6, 9}
    masks = Dataset(name, "val", features=("image", "mask")).load()
    skipped = Coco(str(tmp_path), "val", skip=(10,)).load()
    assert Dataset(name, "val").load().fingerprint == complete.fingerprint
    prints = [source.fingerprint for source in (complete, head, tail, masks, skipped)]
    Image.new("RGB", (3, 5), (6, 1, 1)).save(tmp_path / "val/empty.png")
    assert len({*prints, Dataset(name, "val").load().fingerprint}) == 6
    assert examples(skipped)[5]["objects/label"].tolist() == [1, 0]
    write(tmp_path, "train", "train", change=lambda document: document["categories"].append({"id": 1, "name": "cow"}))
    with pytest.raises(UserError, match="differ in their categories"):
        Dataset(name, "train+val").load()


def test_missing_files_are_reported_with_the_searched_paths(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        Dataset(f"coco:{tmp_path}/no", "val").load()
    path = write(tmp_path)
    with pytest.raises(UserError, match="did you mean 'val'") as error:
        Dataset(f"coco:{tmp_path}", "vall").load()
    for place in (tmp_path / "annotations/instances_vall.json", tmp_path / "vall.json"):
        assert str(place) in str(error.value)
    with pytest.raises(UserError, match="did you mean 'mask'"):
        Dataset(f"coco:{tmp_path}", "val", features=("masks",)).load()
    for split in ("", "val[", "val[7:]"):
        with pytest.raises(UserError, match=r"split|examples"):
            Dataset(f"coco:{tmp_path}", split).load()
    (tmp_path / "val/b.png").unlink()
    with pytest.raises(UserError, match=r"file 'b\.png' of image 9 does not exist") as error:
        Dataset(f"coco:{tmp_path}", "val").load()
    for place in (path, tmp_path / "val", tmp_path / "images"):
        assert str(place) in str(error.value)


def of(number, **fields):
    return lambda document: document["annotations"][number].update(fields)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (of(0, bbox=[3, 2, 0, 1]), r"annotation 11 has a bbox of zero area: .*\[3, 2, 0, 1\]; .*skip=\(11,"),
        (of(0, bbox=[3, 2, 2, -1]), "annotation 11 has a bbox of zero area"),
        (of(0, bbox=[3, 2, 8.5, 1]), r"annotation 11 has a bbox outside its image of 10 x 8"),
        (of(3, bbox=[-1.5, 0, 4, 4]), "annotation 20 has a bbox outside"),
        (of(3, bbox=[-0.5, 0, 0.25, 4]), "annotation 20 has a bbox of zero area within"),
        (of(0, bbox=[3, 2, float("nan"), 1]), "annotation 11 has no bbox of four numbers"),
        (of(0, bbox=None), "annotation 11 has no bbox of four numbers; got None"),
        (of(0, bbox=[1, 2, 3]), "annotation 11 has no bbox of four numbers"),
        (of(1, category_id=4), "annotation 10 has the unknown category id 4; ids that exist: 3, 7"),
        (of(1, category_id=[4]), "annotation 10 has the unknown category id"),
        (of(2, image_id=77), "annotation 12 refers to image 77"),
        (of(2, image_id=[5]), "annotation 12 refers to image"),
        (of(2, id="x"), "annotation number 2 has no 'id' of type int"),
        (of(0, segmentation=[]), r"annotation 11 has no segmentation"),
        (of(0, segmentation=[[1, 2, 3, 4]]), "annotation 11 has a polygon that is not"),
        (of(0, segmentation=[[1, 2, 3, 4, 5, 1e8]]), "annotation 11 has a polygon far outside"),
        (of(2, segmentation={"size": [10, 8], "counts": [80]}), r"annotation 12 has run lengths of size \[10, 8\]"),
        (of(2, segmentation={"size": [8, 10], "counts": [79]}), "annotation 12 has run lengths that do not sum"),
        (of(2, segmentation={"size": [8, 10], "counts": "PP"}), "annotation 12 has run lengths that do not sum"),
        (of(2, segmentation={"size": [8, 10], "counts": ""}), "annotation 12 has run lengths that do not sum"),
        (lambda document: document["images"][1].update(width="10"), "image 5 has no 'width' of type int; got '10'"),
        (lambda document: document["images"][1].update(width=0), "image 5 has the size 8 x 0"),
        (lambda document: document["images"][1].pop("file_name"), "image 5 has no 'file_name'"),
        (lambda document: document["images"][1].update(id=9), "repeats image id 9"),
        (lambda document: document["categories"].append({"id": 3, "name": "cat"}), "repeats category id 3"),
        (lambda document: document["categories"][0].pop("name"), "category 7 has no 'name'"),
        (lambda document: document["categories"].clear(), "has an empty list of categories"),
        (lambda document: document["images"].clear(), "has an empty list of images"),
        (lambda document: document.pop("annotations"), "no list 'annotations'"),
    ],
)
def test_invalid_annotations_are_reported(tmp_path, change, message):
    path = write(tmp_path, change=change)
    with pytest.raises(UserError, match=message) as error:
        Dataset(f"coco:{tmp_path}", "val", features=("image", "mask")).load()
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_invalid_annotations_are_listed_and_can_be_skipped(tmp_path):
    def change(document):
        for number in (0, 2, 3):
            document["annotations"][number]["bbox"] = [0, 0, 0, 0]

    write(tmp_path, change=change)
    with pytest.raises(UserError, match="so are 2 more: 12, 20"):
        Dataset(f"coco:{tmp_path}", "val").load()
    source = Coco(str(tmp_path), "val", skip=(11, 12, 20)).load()
    assert sorted(len(example["objects/label"]) for example in examples(source).values()) == [0, 0, 1]


def test_invalid_json_is_refused(tmp_path):
    path = write(tmp_path)
    valid = path.read_bytes()
    for invalid in (valid[:-9], b"", b"\xff\xfe\x00", b"[1]", b"{}"):
        path.write_bytes(invalid)
        with pytest.raises(UserError, match=r"is not valid JSON|no list 'images'") as error:
            Dataset(f"coco:{tmp_path}", "val").load()
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)


def test_truncated_or_resized_images_are_reported(tmp_path):
    write(tmp_path)
    path = tmp_path / "val/a.png"
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (8, 10, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-60])
    source = Dataset(f"coco:{tmp_path}", "val").load()
    with pytest.raises(UserError, match=r"a\.png cannot be read"):
        examples(source)
    Image.new("RGB", (8, 10)).save(path)
    with pytest.raises(UserError, match=r"a\.png has 10 x 8 pixels .* has 8 x 10 .* for image 5"):
        examples(Dataset(f"coco:{tmp_path}", "val").load())


@pytest.mark.parametrize("kind", ["grey", "16 bit", "CMYK", "palette", "alpha"])
def test_all_image_formats_decode_to_rgb(tmp_path, kind):
    document = copy.deepcopy(content())
    document["images"] = [{"id": 5, "file_name": "a.tif", "width": 10, "height": 8}]
    document["annotations"] = document["annotations"][:1]
    (tmp_path / "images").mkdir()
    (tmp_path / "val.json").write_text(json.dumps(document))
    grey = np.tile(np.linspace(0, 255, 10).astype(np.uint8), (8, 1))
    rgb = np.stack([grey] * 3, axis=-1)
    image = {
        "grey": lambda: Image.fromarray(grey),
        "16 bit": lambda: Image.fromarray(grey.astype(np.uint16) * 257),
        "CMYK": lambda: Image.fromarray(rgb).convert("CMYK"),
        "palette": lambda: Image.fromarray(grey).convert("P"),
        "alpha": lambda: Image.fromarray(rgb).convert("RGBA"),
    }[kind]()
    image.save(tmp_path / "images/a.tif")
    decoded = Dataset(f"coco:{tmp_path}", "val").load().read(np.array([0]))["image"]
    assert decoded.dtype == np.uint8
    assert abs(decoded[0].astype(int) - rgb).max() <= 1


def test_batches_have_boxes_and_masks(tmp_path):
    write(tmp_path)
    train = Dataset(f"coco:{tmp_path}", "val")
    data = Data(train=train, evals={}, batch_size=3, augment=(Objects(2), ResizePad(16, 16)))
    batch = Batches(train.load(), data, seed=0).at(0)
    assert batch["boxes"].shape == (3, 2, 4)
    assert sorted(batch["box_weight"].sum(1).tolist()) == [0, 1, 2]
    row = int(np.argmax(batch["box_weight"].sum(1)))  # 10 x 8 becomes 16 x 13, with one row above it
    scale, top = np.array([13 / 8, 1.6, 13 / 8, 1.6]), np.array([1, 0, 1, 0])
    np.testing.assert_allclose(batch["boxes"][row], np.array([(2, 3, 3, 5), (1, 2, 4, 6)]) * scale + top, rtol=1e-5)
    assert batch["box_label"][row].tolist() == [1, 0]


@pytest.mark.parametrize("name", ["/tmp/a.png", "../val/a.png", "deep/../../a.png", "C:\\pictures\\a.png"])
def test_paths_outside_the_image_folder_are_refused(tmp_path, name):
    write(tmp_path, change=lambda document: document["images"][1].update(file_name=name))
    with pytest.raises(
        UserError, match=r"instances_val\.json: file '.*a\.png' of image 5 must be a path below the image"
    ):
        Dataset(f"coco:{tmp_path}", "val").load()


def test_a_split_without_annotations_has_empty_boxes_and_masks(tmp_path):
    write(tmp_path, change=lambda document: document["annotations"].clear())
    features = ("image", "mask", "instances", "objects/bbox", "objects/label")
    by_id = examples(Dataset(f"coco:{tmp_path}", "val", features).load())
    for example in by_id.values():
        assert example["objects/bbox"].shape == (0, 4)
        assert example["mask"].shape == example["image"].shape[:2]
        assert not example["mask"].any()
        assert not example["instances"].any()


@pytest.mark.parametrize(
    ("orientation", "stored_size", "expected"),
    [
        (3, (10, 8), "stored"),  # by 180 degrees, so that both frames have the annotated size
        (2, (10, 8), "stored"),
        (6, (8, 10), "upright"),  # by 90 degrees, annotated upright
        (8, (10, 8), "stored"),  # by 90 degrees, annotated as stored
    ],
)
def test_images_are_in_the_frame_of_their_annotated_size(tmp_path, orientation, stored_size, expected):
    write(tmp_path)  # image 5 has 10 x 8 pixels (width x height) in the JSON
    pixels = np.random.default_rng(0).integers(0, 256, (*stored_size[::-1], 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "val/a.png", exif=exif)
    source = Dataset(f"coco:{tmp_path}", "val", ("image", "image/id")).load()
    read = [source.read(np.array([row])) for row in range(3)]
    image = next(example["image"][0] for example in read if example["image/id"][0] == 5)
    np.testing.assert_array_equal(image, pixels if expected == "stored" else np.rot90(pixels, -1))


def test_categories_of_two_sets_are_matched_by_name(tmp_path):
    def rename(document):
        document["categories"] = [{"id": 3, "name": "dog"}, {"id": 7, "name": "cat"}]

    write(tmp_path / "one")
    write(tmp_path / "two", change=rename)
    one, two = (Dataset(f"coco:{tmp_path}/{name}", "val").load() for name in ("one", "two"))
    aligned = align(two, one.names, "validation")
    assert aligned.names["box_label"] == one.names["box_label"]
    numbers, before = (sorted(np.concatenate(labels(source)).tolist()) for source in (aligned, two))
    assert (before, numbers) == ([0, 0, 1, 1], [0, 0, 1, 1])
    assert [a.tolist() for a in labels(aligned)] == [(1 - b).tolist() for b in labels(two)]


def labels(source):
    return [source.read(np.array([row]))["objects/label"][0] for row in range(len(source))]


def test_damaged_images_are_dropped_with_their_boxes(tmp_path):
    write(tmp_path)
    (tmp_path / "val/a.png").write_bytes(b"no image")
    source = Dataset(f"coco:{tmp_path}", "val", on_error="skip", skip_limit=0.5).load()
    assert set(examples(source)) == {6, 9}
    assert skipped_files(source) == ("val/a.png (damaged)",)
    with pytest.raises(UserError, match=r"1 of 3 files are damaged, more than skip_limit=0\.05"):
        Dataset(f"coco:{tmp_path}", "val", on_error="skip").load()
