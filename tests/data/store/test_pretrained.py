"""Pretrained tokenizers and weights: special tokens move equally in both."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxdl.data.store.pretrained import SPECIALS, find_folder, special_token_map
from jaxdl.data.synthetic.text import MockSentences
from jaxdl.data.text.tokenizers import Pretrained, Vocabulary
from jaxdl.errors import UserError
from jaxdl.interop.huggingface.transformers import _with_special_tokens_first

WORDS = ["[PAD]", "a", "b", "[UNK]", "good", "##ness", "[CLS]", "film", "[SEP]", "[MASK]", "."]


@pytest.fixture
def folder(tmp_path):
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    vocabulary = {word: number for number, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    tokenizer.enable_truncation(3)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def test_encoding_matches_the_original_tokenizer_up_to_special_tokens(folder):
    tokenizer = Vocabulary(Pretrained(str(folder)), MockSentences(examples=4)).load()
    assert tokenizer[:4] == ("<pad>", "<start>", "<end>", "<unknown>")
    assert len(tokenizer) == len(WORDS)
    ids = tokenizer.encode("Good goodness [CLS] film.")
    assert [tokenizer[number] for number in ids][:3] == ["good", "good", "##ness"]
    assert tokenizer.decode(tokenizer.encode("a goodness b film.")) == "a goodness b film."
    assert set(tokenizer.encode("zzz")) == {3}
    ids, widths = tokenizer.measure_all(["a  goodness"])[0]
    assert (len(ids), widths.sum()) == (3, 11)


def test_embedding_rows_follow_their_tokens(folder):
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    moved = special_token_map(vocabulary)
    table = np.arange(len(WORDS))[:, None] * np.ones((1, 2))
    moved_weights = _with_special_tokens_first({"encoder/embed/word/embedding": table, "norm/scale": table}, moved)
    tokenizer = Pretrained(str(folder)).train(())
    for row, text in enumerate(tokenizer):
        name = SPECIALS[row] if row < 4 else text
        assert moved_weights["encoder/embed/word/embedding"][row, 0] == vocabulary[name]
    np.testing.assert_array_equal(moved_weights["norm/scale"], table)


@given(st.permutations(range(9)))
def test_the_special_token_map_is_a_permutation_with_specials_first(order):
    names = [*SPECIALS, *"vwxyz"]
    vocabulary: dict[str, int] = dict(zip(names, order))
    moved = special_token_map(vocabulary)
    places: dict[str, int] = {name: moved.get(number, number) for name, number in vocabulary.items()}
    assert sorted(places.values()) == list(range(9))
    assert [places[name] for name in SPECIALS] == [0, 1, 2, 3]
    assert len(moved) <= 8


def test_missing_or_unsupported_weights_are_refused(folder, tmp_path):
    with pytest.raises(UserError, match="--prepare=minilm"):
        find_folder("minilm")
    with pytest.raises(UserError, match="pass a folder with config"):
        find_folder(str(tmp_path / "none"))
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"type": "BPE", "vocab": {}}}))
    with pytest.raises(UserError, match="is a BPE tokenizer; only WordPiece"):
        Pretrained(str(folder)).train(())
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match=r"cannot read .*tokenizer\.json"):
        Pretrained(str(folder)).train(())
