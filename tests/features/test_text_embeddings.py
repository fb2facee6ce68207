"""Sentence embeddings of a small BERT encoder as conditions of images."""

import jax
import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from jaxdl.data.image.unpaired import Styles
from jaxdl.data.source import ColumnSource
from jaxdl.errors import UserError
from jaxdl.features.text_embeddings import TextConditioned, sentence_embeddings
from jaxdl.interop.huggingface.checkpoints import read_model, write_model
from jaxdl.models.bert import MaskedLanguageModel, bert

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "red", "heart", "dog", "##s"]
TEXTS = ["a red heart", "a dog", "dogs", "heart"]


@pytest.fixture
def folder(tmp_path):
    """Writes a BERT encoder with random weights and its tokenizer, whose special tokens are not jaxdl's."""
    model = bert(vocabulary=len(WORDS), length=40, features=8, layers=2, heads=2, hidden=16)
    params = model.init(jax.random.key(0), np.zeros((1, 4), np.int32), train=False)["params"]
    keys = jax.random.split(jax.random.key(1), len(jax.tree.leaves(params)))
    leaves = [leaf + 0.3 * jax.random.normal(key, leaf.shape) for leaf, key in zip(jax.tree.leaves(params), keys)]
    write_model(tmp_path, model, {"params": jax.tree.unflatten(jax.tree.structure(params), leaves)})
    tokenizer = Tokenizer(models.WordPiece({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(WORDS[:4])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return str(tmp_path)


def test_the_embedding_is_the_mean_output_over_the_tokens_of_the_text(folder):
    read = read_model(folder)
    ids = np.array([[2, 4, 5, 6, 3]])  # [CLS] a red heart [SEP] in the checkpoint
    mean = np.asarray(read.model.apply(read.variables, ids, train=False))[0].mean(0)
    expected = mean / np.sqrt(np.mean(mean**2))
    np.testing.assert_allclose(sentence_embeddings(folder, ["A red heart"])[0], expected, atol=1e-5)


def test_an_embedding_does_not_depend_on_the_other_texts(folder):
    alone = np.concatenate([sentence_embeddings(folder, [text]) for text in TEXTS])
    together = sentence_embeddings(folder, TEXTS * 9)
    np.testing.assert_array_equal(together, np.tile(alone, (9, 1)))
    assert len(np.unique(alone.round(3), axis=0)) == len(TEXTS)


def test_long_texts_are_truncated_and_empty_ones_refused(folder):
    long, longer = sentence_embeddings(folder, ["dog " * 30, "dog " * 50])
    np.testing.assert_array_equal(long, longer)
    with pytest.raises(UserError, match="text 2 of 2 is empty"):
        sentence_embeddings(folder, ["dog", " "])


class Pictures:
    def load(self):
        image = np.arange(4 * 4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 4, 3)
        texts = np.array([text.encode() for text in TEXTS], object)
        kind = np.array([0, 1, 1, 0])
        columns = {"one": image, "other": image[::-1].copy(), "text": texts, "kind": kind}
        return ColumnSource(columns, "pictures", {"kind": ("thing", "animal")})


def test_images_of_each_style_have_the_embedding_of_their_text_and_the_style(folder):
    styles = Styles(Pictures(), ("one", "other"), label="kind")
    source = TextConditioned(styles, encoder=folder).load()
    columns = source.columns
    np.testing.assert_array_equal(columns["image"], styles.load().columns["image"])
    assert columns["label"].tolist() == [0, 1, 1, 0] * 2
    embedding = columns["embedding"]
    assert embedding.dtype == np.float32
    np.testing.assert_array_equal(embedding[:, :8], np.tile(sentence_embeddings(folder, TEXTS), (2, 1)))
    np.testing.assert_array_equal(embedding[:, 8:], [[1, 0]] * 4 + [[0, 1]] * 4)
    assert source.names == {"label": ("thing", "animal")}
    assert source.fingerprint != styles.load().fingerprint


def test_texts_are_read_in_a_style(folder):
    styles = Styles(Pictures(), ("one", "other"), label="kind")
    rows = {
        style: TextConditioned(styles, encoder=folder, style=style).read([], TEXTS[:2], {})
        for style in (None, "one", "other")
    }
    assert [text for text, _ in rows["one"]] == TEXTS[:2]
    embedding = rows["other"][1][1]["embedding"]
    np.testing.assert_array_equal(embedding[:8], sentence_embeddings(folder, TEXTS[1:2])[0])
    assert embedding[8:].tolist() == [0, 1]
    assert rows[None][0][1]["embedding"][8:].tolist() == rows["one"][0][1]["embedding"][8:].tolist() == [1, 0]
    with pytest.raises(UserError, match="style='third' does not exist; use one of one, other"):
        TextConditioned(styles, encoder=folder, style="third").read([], TEXTS, {})
    with pytest.raises(UserError, match="--text"):
        TextConditioned(styles, encoder=folder).read(["photo.png"], [], {})


def test_other_models_are_refused(tmp_path, folder):
    model = MaskedLanguageModel(bert(vocabulary=len(WORDS), length=8, features=8, layers=1, heads=2, hidden=16))
    params = model.init(jax.random.key(0), np.zeros((1, 4), np.int32), train=False)["params"]
    target = tmp_path / "masked"
    write_model(target, model, {"params": params})
    (target / "tokenizer.json").write_bytes((tmp_path / "tokenizer.json").read_bytes())
    with pytest.raises(UserError, match="not a sentence encoder"):
        sentence_embeddings(str(target), ["dog"])
