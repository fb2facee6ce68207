"""Tests of image folders: layouts, hidden and damaged files, skipping."""

import os

import numpy as np
import pytest
from PIL import Image

from jaxdl.data.dataset import Dataset
from jaxdl.data.source import skipped_files
from jaxdl.data.summary import summarize
from jaxdl.errors import UserError


def paint(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 3), (value, 0, 0)).save(path)


@pytest.fixture
def pets(tmp_path):
    for number in range(3):
        paint(tmp_path / f"cat/{number}.png", 10 + number)
        paint(tmp_path / f"dog/{number}.jpg", 100)
    return tmp_path


def labels(folder, split="train", **settings):
    """Returns the class name of every example, sorted."""
    source = Dataset(f"folder:{folder}", split, **settings).load()
    batch = source.read(np.arange(len(source)))
    return sorted(str(source.names["label"][label]) for label in batch["label"])


def test_hidden_folders_and_files_are_skipped_and_named(pets):
    paint(pets / ".ipynb_checkpoints/0-checkpoint.png")
    paint(pets / "cat/.ipynb_checkpoints/1-checkpoint.png")
    paint(pets / "__MACOSX/cat/2.png")
    (pets / "cat/._0.png").write_bytes(b"metadata")
    (pets / "dog/notes.txt").write_text("good dog")
    source = Dataset(f"folder:{pets}", "train").load()
    assert source.names == {"label": ("cat", "dog")}
    assert labels(pets) == ["cat"] * 3 + ["dog"] * 3
    first, second = summarize("train", source)
    assert first == "train: 6 examples; cat: 3, dog: 3"
    assert second.startswith("train: skipped 5 files: cat/._0.png (hidden), cat/.ipynb_checkpoints (hidden)")


@pytest.mark.parametrize("name", ["x.heic", "x.txt", None])
def test_a_class_without_readable_images_is_refused(pets, name):
    (pets / "lion").mkdir()
    if name:
        (pets / "lion" / name).write_bytes(b"not read")
    with pytest.raises(UserError, match=r"class folder .*lion has no images that can be read.*remove the folder"):
        Dataset(f"folder:{pets}", "train").load()


@pytest.mark.parametrize("names", [("Train", "Test"), ("TRAIN", "test"), ("train", "Val"), ("Training", "Testing")])
def test_split_folders_are_recognized_in_any_case(tmp_path, names):
    for name in names:
        paint(tmp_path / name / "cat/1.png")
        paint(tmp_path / name / "dog/1.png")
    for name in names:
        assert labels(tmp_path, name.lower()) == ["cat", "dog"]


def test_test_and_validation_folders_alone_are_splits(tmp_path):
    for name in ("Val", "Test"):
        paint(tmp_path / name / "cat/1.png")
    assert labels(tmp_path, "val+test") == ["cat", "cat"]
    with pytest.raises(UserError, match="no split 'train'"):
        Dataset(f"folder:{tmp_path}", "train").load()


def test_a_class_may_be_named_train(tmp_path):
    for name in ("bus", "car", "train"):
        paint(tmp_path / name / "1.png")
    assert labels(tmp_path) == ["bus", "car", "train"]


def test_splits_beside_classes_are_refused(pets):
    paint(pets / "train/cat/1.png")
    with pytest.raises(UserError, match=r"has splits \(train\) beside images of a class \(cat\)"):
        Dataset(f"folder:{pets}", "train").load()


def test_two_folders_of_one_split_are_refused(tmp_path):
    for name in ("Train", "train"):
        paint(tmp_path / name / "cat/1.png")
    with pytest.raises(UserError, match="two folders of the split 'train'"):
        Dataset(f"folder:{tmp_path}", "train").load()


def test_a_class_that_training_lacks_is_refused(tmp_path):
    paint(tmp_path / "train/cat/1.png")
    paint(tmp_path / "test/ant/1.png")
    with pytest.raises(UserError, match=r"test has the class 'ant', which .*train lacks; add or remove it"):
        Dataset(f"folder:{tmp_path}", "test").load()


def test_a_class_may_be_empty_in_an_evaluation_split(tmp_path):
    for name in ("ant", "cat"):
        paint(tmp_path / f"train/{name}/1.png")
    paint(tmp_path / "test/cat/1.png")
    (tmp_path / "test/ant").mkdir()
    assert labels(tmp_path, "test") == ["cat"]


def test_folders_without_classes_beside_splits_are_skipped(tmp_path):
    paint(tmp_path / "train/cat/1.png")
    paint(tmp_path / "test/1.png")
    (tmp_path / "annotations/xmls").mkdir(parents=True)
    (tmp_path / "annotations/xmls/1.xml").write_text("<annotation/>")
    source = Dataset(f"folder:{tmp_path}", "train").load()
    assert source.names == {"label": ("cat",)}
    assert skipped_files(source) == ("test (not in a class)",)


def test_a_folder_named_like_an_image_is_searched(pets):
    paint(pets / "cat/album.jpg/9.png")
    assert labels(pets).count("cat") == 4


def test_links_to_folders_and_files_are_followed_once(pets, tmp_path):
    paint(tmp_path.parent / f"{tmp_path.name}_elsewhere/5.png")
    os.symlink(tmp_path.parent / f"{tmp_path.name}_elsewhere", pets / "cat/more")
    os.symlink(pets / "cat", pets / "cat/loop")
    os.symlink(pets / "dog", pets / "hound")
    assert labels(pets) == ["cat"] * 4 + ["dog"] * 3 + ["hound"] * 3


def test_a_broken_link_is_an_error_or_a_skipped_file(pets):
    os.symlink(pets / "gone.png", pets / "cat/9.png")
    with pytest.raises(UserError, match=r"cat/9\.png is a link to .*gone\.png, which does not exist"):
        Dataset(f"folder:{pets}", "train").load()
    source = Dataset(f"folder:{pets}", "train", on_error="skip", skip_limit=0.2).load()
    assert len(source) == 6
    assert skipped_files(source) == ("cat/9.png (damaged)",)


@pytest.mark.parametrize("suffix", ["jfif", "JPG", "jpe"])
def test_other_suffixes_of_jpeg_are_read(tmp_path, suffix):
    paint(tmp_path / "cat/1.jpg")
    (tmp_path / "cat/1.jpg").rename(tmp_path / f"cat/1.{suffix}")
    assert labels(tmp_path) == ["cat"]


def test_damaged_images_are_dropped_named_and_limited(pets):
    Image.effect_noise((64, 64), 50).save(pets / "cat/1.png")
    (pets / "cat/1.png").write_bytes((pets / "cat/1.png").read_bytes()[:2000])
    with pytest.raises(UserError, match=r"cat/1\.png cannot be read as an image"):
        labels(pets)
    source = Dataset(f"folder:{pets}", "train", on_error="skip", skip_limit=0.2).load()
    assert len(source) == 5
    assert skipped_files(source) == ("cat/1.png (damaged)",)
    with pytest.raises(
        UserError, match=r"1 of 6 files are damaged, more than skip_limit=0\.05; the first: .*cat/1\.png"
    ):
        labels(pets, on_error="skip")
    with pytest.raises(UserError, match=r"on_error='ignore' is unknown"):
        labels(pets, on_error="ignore")


def test_settings_of_image_files_are_refused_elsewhere():
    with pytest.raises(UserError, match=r"Dataset\.scale applies to folder:PATH and coco:PATH, not to 'digits'"):
        Dataset("digits", "train", scale=(0, 1)).load()
    with pytest.raises(UserError, match=r"Dataset\.on_error applies to folder:, coco: and speech:"):
        Dataset("digits", "train", on_error="skip").load()


def test_the_scale_is_one_of_the_data_set(tmp_path):
    (tmp_path / "cat").mkdir()
    for name, top in (("a", 4095), ("b", 2048)):
        Image.fromarray(np.array([[0, top]], np.uint16)).save(tmp_path / f"cat/{name}.png")
    with pytest.raises(UserError, match=r"at most 12 of 16 bits .* set scale=\(LOW, HIGH\)"):
        labels(tmp_path)
    source = Dataset(f"folder:{tmp_path}", "train", scale=(0, 4095)).load()
    images = source.read(np.arange(2))["image"]
    assert sorted(image[0, 1, 0] for image in images) == [128, 255]
    assert source.fingerprint != Dataset(f"folder:{tmp_path}", "train", scale=(0, 65535)).load().fingerprint
    with pytest.raises(UserError, match=r"Dataset\.scale=\(1, 0\) must be \(LOW, HIGH\)"):
        Dataset(f"folder:{tmp_path}", "train", scale=(1, 0)).load()
