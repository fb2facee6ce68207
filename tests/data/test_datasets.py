import gzip
import hashlib
import json
import pickle
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxdl.commands.data import cells
from jaxdl.data.dataset import Dataset
from jaxdl.data.splits import Range, parse_split
from jaxdl.data.store import prepared
from jaxdl.data.store.builders import builder_names
from jaxdl.data.store.catalog import catalog, prepare
from jaxdl.data.synthetic.images import MockImages
from jaxdl.errors import UserError

ROOT = Path(__file__).parents[2]

BUILDER = """
import numpy as np
import tensorflow_datasets as tfds

class Builder(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "image": IMAGE,
            "label": tfds.features.ClassLabel(names=["even", "odd"]),
            "box": tfds.features.Tensor(shape=(None, 4), dtype=np.float32),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(20), "test": self._generate_examples(5)}

    def _generate_examples(self, count):
        for number in range(count):
            image = np.full((2, 2, 1), number, np.uint8)
            box = np.zeros((number % 3, 4), np.float32)
            yield number, {"image": image, "label": number % 2, "box": box}
"""
RAW = 'tfds.features.Tensor(shape=(2, 2, 1), dtype=np.uint8, encoding="bytes")'


@pytest.fixture(scope="module")
def prepared_home(tmp_path_factory):
    """Data home with `digits`, prepared by its first load."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXDL_DATA", str(home))
        Dataset("digits", "train").load()
    return home


@pytest.fixture
def home(prepared_home, tmp_path, monkeypatch):
    """Copy of the data home for tests that damage it."""
    home = tmp_path / "home"
    shutil.copytree(prepared_home, home)
    monkeypatch.setenv("JAXDL_DATA", str(home))
    return home


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a user-defined builder in a package per test, and returns its name."""
    package = f"own_{abs(hash(tmp_path)) % 10**9}"
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    # Python would use the bytecode of an earlier text of equal length from the same second.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def make(name, text):
        (tmp_path / package / f"{name}.py").write_text(text)
        return f"{package}.{name}"

    return make


def test_digits_are_complete_and_stratified(home):
    train, test = Dataset("digits", "train").load(), Dataset("digits", "test").load()
    assert (len(train), len(test)) == (1437, 360)
    assert train.in_memory
    assert train.names["label"] == tuple("0123456789")
    batch = test.read(np.arange(360))
    assert batch["image"].shape == (360, 8, 8, 1)
    assert batch["image"].dtype == np.uint8
    assert batch["image"].max() == 255
    assert batch["label"].dtype == np.int32
    np.testing.assert_array_equal(np.bincount(batch["label"]), 36)
    from sklearn.datasets import load_digits

    original, _ = load_digits(return_X_y=True)
    pixels = np.concatenate([train.read(np.arange(1437))["image"], batch["image"]]).reshape(-1, 64)
    back = np.rint(pixels / (255 / 16))
    np.testing.assert_array_equal(np.array(sorted(map(tuple, back))), np.array(sorted(map(tuple, original))))


def test_a_prepared_set_loads_without_tfds_or_jax(home):
    code = (
        "import sys; from jaxdl.data.dataset import Dataset; Dataset('digits', 'train').load();"
        "sys.exit(any(name in sys.modules for name in ('tensorflow_datasets', 'jax', 'grain', 'tensorflow')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_splits_have_distinct_examples_and_fingerprints(home):
    complete = Dataset("digits", "train").load()
    head, tail = Dataset("digits", "train[:1000]").load(), Dataset("digits", "train[1000:]").load()
    joined = Dataset("digits", "train[:1000]+train[1000:]").load()
    assert (len(head), len(tail), len(joined)) == (1000, 437, 1437)
    rows = np.array([0, 999, 1000, 1436])
    np.testing.assert_array_equal(complete.read(rows)["image"], joined.read(rows)["image"])
    np.testing.assert_array_equal(tail.read(np.array([5]))["image"], complete.read(np.array([1005]))["image"])
    prints = {source.fingerprint for source in (complete, head, tail, joined)}
    assert len(prints) == 4
    assert Dataset("digits", "train[:100%]").load().fingerprint == complete.fingerprint
    labels = Dataset("digits", "train", features=("label",)).load()
    assert set(labels.read(rows)) == {"label"}


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("train", [("train", 0, 1000)]),
        ("train[:900]", [("train", 0, 900)]),
        ("train[-1_00:]", [("train", 900, 1000)]),
        ("train[80%:]+test", [("train", 800, 1000), ("test", 0, 33)]),
        ("test[:50%]", [("test", 0, 16)]),
        ("test[10%:-10%]", [("test", 3, 30)]),
        ("train[:12.5%] + test[3:4]", [("train", 0, 125), ("test", 3, 4)]),
        ("all", [("train", 0, 1000), ("test", 0, 33)]),
    ],
)
def test_split_syntax(split, expected):
    assert parse_split(split, {"train": 1000, "test": 33}, "set") == tuple(Range(*part) for part in expected)


@pytest.mark.parametrize(
    "split", ["", "train[", "train[a:]", "train[::2]", "train[5:5]", "train[:1001]", "trian", "all[:5]"]
)
def test_invalid_splits_are_user_errors(split):
    with pytest.raises(UserError, match=r"split|examples"):
        parse_split(split, {"train": 1000, "test": 33}, "set")


@pytest.mark.parametrize(
    ("name", "split", "message"),
    [
        ("digitz", "train", "did you mean 'digits'"),
        ("digits", "trane", "did you mean 'train'"),
        ("no.such.module", "train", "dotted"),
        ("jaxdl.data.random", "train", "not define a class Builder"),
        ("folder:/no/such/folder", "train", "does not exist"),
        ("folder:", "train", "has no path after the colon; write 'folder:PATH'"),
        ("text:", "train", "has no path after the colon; write 'text:PATH'"),
    ],
)
def test_unknown_names_are_user_errors(home, name, split, message):
    with pytest.raises(UserError, match=message):
        Dataset(name, split).load()


def test_an_unknown_feature_is_a_user_error(home):
    with pytest.raises(UserError, match="did you mean 'image'"):
        Dataset("digits", "train", features=("imag",)).load()


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
@pytest.mark.parametrize("pattern", ["train.image.npy", "*test.array_record*"])
def test_a_damaged_file_is_reported(home, pattern, damage):
    path = next((home / "digits/1.0.0").glob(pattern))
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[-5] ^= 1
        path.write_bytes(content)
    elif damage == "cut":
        path.write_bytes(content[:-5])
    else:
        path.unlink()
    problem = "No such file" if damage == "remove" else "expected .*, got "
    with pytest.raises(UserError, match=rf"{problem}.*jaxdl data --prepare=digits") as error:
        Dataset("digits", "train").load()
    assert str(path) in str(error.value)


@pytest.mark.parametrize(("before", "after"), [('"8"', '"9"'), ('"train": 1437', '"train": 1436'), ('"sha256"', '"a"')])
def test_a_changed_manifest_is_refused_and_listed_as_damaged(home, before, after):
    path = home / "digits/1.0.0/fingerprints.json"
    assert before in path.read_text()
    path.write_text(after.join(path.read_text().rsplit(before, 1)))
    with pytest.raises(UserError, match=r"fingerprints\.json is damaged: it does not have its SHA-256"):
        Dataset("digits", "train").load()
    row = next(row for row in catalog() if row.name == "digits")
    assert "jaxdl data --prepare=digits" in row.problem
    assert cells(row)[1] == "damaged"


def test_prepare_repairs_damage_and_is_idempotent(home, capsys):
    before = Dataset("digits", "train").load().fingerprint
    path = home / "digits/1.0.0/train.image.npy"
    stamp = path.stat().st_mtime_ns
    prepare("digits")
    assert path.stat().st_mtime_ns == stamp
    path.write_bytes(b"nonsense")
    (home / ".preparing-digits-dead").mkdir()  # left behind by a killed process
    prepare("digits")
    assert Dataset("digits", "train").load().fingerprint == before
    (home / "digits/1.0.0/fingerprints.json").write_text("{")
    with pytest.raises(UserError, match=r"fingerprints\.json is damaged"):
        Dataset("digits", "train").load()
    prepare("digits")
    assert Dataset("digits", "train").load().fingerprint == before
    assert sorted(path.name for path in home.iterdir()) == [".locks", "digits", "downloads"]


def test_the_highest_prepared_version_comes_first(tmp_path):
    for version in ("1.9.0", "1.10.0", "1.2.0"):  # in another order than by time
        folder = tmp_path / "data" / "made" / version
        folder.mkdir(parents=True)
        (folder / prepared.MANIFEST).touch()
    assert prepared.versions("made") == ["1.10.0", "1.9.0", "1.2.0"]


def test_the_catalogue_lists_builders_and_what_is_prepared(home):
    rows = {row.name: row for row in catalog()}
    assert not rows["fashion_mnist"].prepared
    assert rows["digits"].prepared
    assert rows["digits"].splits == {"train": 1437, "test": 360}
    assert rows["digits"].bytes > 1437 * 64
    assert len(rows["digits"].fingerprint) == 64
    assert list(rows) == builder_names()
    assert cells(rows["digits"])[1] == "train 1,437, test 360"
    assert cells(rows["fashion_mnist"]) == ("fashion_mnist", "not prepared", "", "")


def test_boxes_of_a_user_builder_are_read_one_example_at_a_time(module):
    name = module("boxes", BUILDER.replace("IMAGE", RAW))
    source = Dataset(name, "train").load()
    assert not source.in_memory
    assert len(source) == 20
    assert source.names["label"] == ("even", "odd")
    copy = pickle.loads(pickle.dumps(source))  # as worker processes receive it
    for index in range(20):
        example, copied = source.read(np.array([index])), copy.read(np.array([index]))
        number = int(example["image"][0, 0, 0, 0])
        assert example["label"].dtype == np.int32
        assert int(example["label"][0]) == number % 2
        assert example["box"].shape == (1, number % 3, 4)
        np.testing.assert_array_equal(example["image"], copied["image"])
    with pytest.raises(UserError, match="differs in shape"):
        source.read(np.arange(20))
    images = Dataset(name, "train", features=("image", "label")).load()
    assert set(images.read(np.arange(20))) == {"image", "label"}
    with pytest.raises(UserError, match="did you mean 'label'"):
        Dataset(name, "train", features=("labels",)).load()
    assert name in {row.name for row in catalog()}


def test_damaged_records_of_a_large_set_are_reported_when_they_are_read(module, home, monkeypatch):
    name = module("large", BUILDER.replace("IMAGE", RAW))
    Dataset(name, "train").load()
    monkeypatch.setattr(prepared, "DIGEST_LIMIT", 0)
    monkeypatch.setattr(prepared, "SMALL_FILE", 0)
    path = next((home / name / "1.0.0").glob("*train.array_record*"))
    content = bytearray(path.read_bytes())
    content[np.flatnonzero(content)[-20]] ^= 1  # in the records, behind empty blocks
    path.write_bytes(content)
    source = Dataset(name, "train").load()
    with pytest.raises(UserError, match=rf"record .*jaxdl data --prepare={name}"):
        [source.read(np.array([index])) for index in range(20)]


def test_a_new_version_of_a_builder_is_prepared_beside_the_old_one(module):
    text = BUILDER.replace("IMAGE", RAW).replace("shape=(None, 4)", "shape=(4,)").replace("(number % 3, 4)", "4")
    name = module("growing", text)
    old = Dataset(name, "train").load()
    module("growing", text.replace("1.0.0", "1.1.0").replace("examples(20)", "examples(21)"))
    sys.modules.pop(name)
    new = Dataset(name, "train").load()
    assert (len(old), len(new)) == (20, 21)
    assert old.fingerprint != new.fingerprint
    assert old.in_memory


def test_a_missing_tensorflow_is_reported_with_the_install_command(module):
    if subprocess.run([sys.executable, "-c", "import tensorflow"], capture_output=True, check=False).returncode == 0:
        pytest.skip("TensorFlow is installed")
    name = module("arrays", BUILDER.replace("IMAGE", "tfds.features.Image(shape=(2, 2, 1))"))
    with pytest.raises(UserError, match=r"\.\[readers\]"):
        Dataset(name, "train").load()


def test_unavailable_tfds_sets_are_user_errors():
    with pytest.raises(UserError, match="did you mean 'mnist'"):
        Dataset("tfds:mnits", "train").load()
    with pytest.raises(UserError, match="manually"):
        Dataset("tfds:imagenet2012", "train").load()


def test_prepared_tfds_folders_are_reused(home, tmp_path, monkeypatch):
    before = Dataset("digits", "train").load()
    monkeypatch.setenv("TFDS_DATA_DIR", str(home))
    monkeypatch.setenv("JAXDL_DATA", str(tmp_path / "other"))
    adopted = Dataset("tfds:digits", "train").load()
    np.testing.assert_array_equal(adopted.read(np.arange(1437))["image"], before.read(np.arange(1437))["image"])
    assert "tfds:digits" in {row.name for row in catalog()}
    monkeypatch.setenv("JAXDL_DATA", str(home))
    prepare("digits")  # verifies every byte of the original
    shutil.rmtree(home)
    monkeypatch.setenv("JAXDL_DATA", str(tmp_path / "other"))
    assert Dataset("tfds:digits", "train").load().fingerprint == before.fingerprint


def test_damaged_fashion_mnist_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXDL_SOURCES", str(tmp_path))
    for prefix in ("train", "t10k"):
        for kind in ("images-idx3", "labels-idx1"):
            (tmp_path / f"{prefix}-{kind}-ubyte.gz").write_bytes(gzip.compress(b"wrong"))
    with pytest.raises(UserError, match=hashlib.sha256(b"wrong").hexdigest()):
        Dataset("fashion_mnist", "train").load()


def test_idx_files_are_decoded(tmp_path):
    from jaxdl.data.builders.fashion_mnist import read_idx

    image = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    header = struct.pack(">BBBB3I", 0, 0, 8, 3, *image.shape)
    (tmp_path / "images.gz").write_bytes(gzip.compress(header + image.tobytes()))
    np.testing.assert_array_equal(read_idx(tmp_path / "images.gz"), image)


def paint(path, colour, size=(6, 4), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)


def test_a_folder_of_images_is_a_data_set(tmp_path):
    for number in range(10):
        paint(tmp_path / f"cat/{number}.png", (number, 0, 0), size=(6 + number, 4))
        paint(tmp_path / f"dog/deep/{number}.jpg", (0, 0, 0))
    (tmp_path / "dog/notes.txt").write_text("no image")
    name = f"folder:{tmp_path}"
    source = Dataset(name, "train").load()
    assert len(source) == 20
    assert source.names["label"] == ("cat", "dog")
    assert not source.in_memory
    labels = [int(source.read(np.array([index]))["label"][0]) for index in range(20)]
    assert sorted(labels) == [0] * 10 + [1] * 10
    assert labels != sorted(labels)
    head, tail = Dataset(name, "train[:80%]").load(), Dataset(name, "train[80%:]").load()
    assert (len(head), len(tail)) == (16, 4)
    assert [int(tail.read(np.array([index]))["label"][0]) for index in range(4)] == labels[16:]
    assert len({source.fingerprint, head.fingerprint, tail.fingerprint}) == 3
    paint(tmp_path / "cat/3.png", (9, 9, 9))
    assert Dataset(name, "train").load().fingerprint != source.fingerprint


def test_train_and_test_folders_are_splits_with_common_classes(tmp_path):
    paint(tmp_path / "train/cat/1.png", 1)
    paint(tmp_path / "train/dog/1.png", 2)
    paint(tmp_path / "test/dog/1.png", 3)
    test = Dataset(f"folder:{tmp_path}", "test").load()
    assert int(test.read(np.array([0]))["label"][0]) == 1
    assert len(Dataset(f"folder:{tmp_path}", "train+test").load()) == 3
    with pytest.raises(UserError, match="no split 'validation'"):
        Dataset(f"folder:{tmp_path}", "validation").load()
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no images"):
        Dataset(f"folder:{tmp_path}/empty", "train").load()


def test_mock_images_share_class_patterns_between_splits():
    train, test = MockImages(examples=200).load(), MockImages(examples=200, split="test").load()
    assert train.columns["image"].shape == (200, 28, 28, 1)
    assert train.columns["label"].dtype == np.int32
    assert train.fingerprint != test.fingerprint
    assert (train.columns["image"] != test.columns["image"]).any()
    np.testing.assert_array_equal(train.columns["image"], MockImages(examples=200).load().columns["image"])
    flat = {"train": train.columns["image"].reshape(200, -1).astype(float)}
    flat["test"] = test.columns["image"].reshape(200, -1).astype(float)
    means = np.stack([flat["train"][train.columns["label"] == label].mean(0) for label in range(10)])
    guess = ((flat["test"][:, None] - means) ** 2).sum(-1).argmin(1)
    assert (guess == test.columns["label"]).mean() > 0.95
    # Additional examples do not change the first ones.
    np.testing.assert_array_equal(MockImages(examples=10).load().columns["image"], train.columns["image"][:10])


def test_the_manifest_holds_size_and_digest_of_every_file(home):
    folder = home / "digits/1.0.0"
    files = json.loads((folder / "fingerprints.json").read_text())["files"]
    assert set(files) == {path.name for path in folder.iterdir()} - {"fingerprints.json"}
    for name, entry in files.items():
        content = (folder / name).read_bytes()
        assert entry == {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
