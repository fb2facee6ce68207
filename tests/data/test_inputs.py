"""Inputs of a trained model from files, arrays and texts."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from jaxdl.data.dataset import Data
from jaxdl.data.image.resize import ResizePad
from jaxdl.data.inputs import Inputs
from jaxdl.data.synthetic.images import MockImages
from jaxdl.data.synthetic.text import MockSentences, MockText
from jaxdl.data.text.sentences import Sentences
from jaxdl.data.text.special_tokens import UNKNOWN
from jaxdl.data.text.tokenizers import Characters, Vocabulary, Words
from jaxdl.data.text.windows import Windows
from jaxdl.errors import UserError

IMAGES = Data(train=MockImages(), evals={}, batch_size=4)
RECORD = {"batch": {"image": [[16, 16, 3], "uint8"], "label": [[], "int32"]}}


def read(data, record, files=(), texts=(), framing: str | None = "crop", names=None, mask=None):
    return Inputs("runs/x", data, record, framing, names or {}, mask).read(files, texts)


def test_images_have_the_size_of_evaluation(tmp_path):
    Image.new("L", (40, 20), 200).save(tmp_path / "grey.png")
    data = dataclasses.replace(IMAGES, eval_transforms=(ResizePad(24, 24),))
    (example,) = read(data, RECORD, [str(tmp_path)])
    assert example.example["image"].shape == (24, 24, 3)
    assert example.example["image"][:, 0].any(axis=-1).sum() == 12  # letterboxed, not cropped
    (array,) = read(data, RECORD, [np.full((20, 40), 200, np.uint8)])
    np.testing.assert_array_equal(array.example["image"], example.example["image"])


@pytest.mark.parametrize(("alpha", "value"), [(0, 255), (255, 10), (128, 132)])
def test_alpha_is_composited_over_white(tmp_path, alpha, value):
    Image.new("RGBA", (16, 16), (10, 10, 10, alpha)).save(tmp_path / "x.png")
    (example,) = read(IMAGES, RECORD, [str(tmp_path / "x.png")])
    np.testing.assert_array_equal(example.example["image"], value)


def test_evaluation_decides_the_length_of_a_text():
    corpus = MockSentences(examples=8)
    vocabulary = Vocabulary(Words(24), corpus)
    train, short = (Sentences(corpus, vocabulary, length) for length in (8, 3))
    data = Data(train=train, evals={"validation": short}, batch_size=4)
    (example,) = read(data, {"batch": {"tokens": [[8], "int32"]}}, texts=["a b c d e f g h"])
    assert example.example["tokens_length"] == 3


def test_a_mask_becomes_an_unknown_token():
    corpus = MockText()
    data = Data(train=Windows(corpus, Vocabulary(Characters(40), corpus), 8), evals={}, batch_size=4)
    names = {"tokens": Vocabulary(Characters(40), corpus).load()}
    letter = names["tokens"][4]
    (example,) = read(data, {"batch": {}}, texts=[f"{letter}[MASK]{letter}"], names=names, mask="[MASK]")
    np.testing.assert_array_equal(example.example["tokens"][:3], [4, UNKNOWN, 4])


@pytest.mark.parametrize(
    ("files", "texts", "framing", "reason"),
    [
        ((), ("a",), "crop", "does not take texts: its batches have image, label"),
        (("a.png",), ("a",), "crop", "either files, arrays or texts"),
        (("a.png",), (), None, "unconditional generator, use --samples=16"),
    ],
)
def test_other_inputs_are_refused(files, texts, framing, reason):
    with pytest.raises(UserError, match=reason):
        read(IMAGES, RECORD, files, texts, framing)
