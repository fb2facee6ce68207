"""Pretrained tokenizers and weights: special tokens move equally in both."""

import hashlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxdl.data.store import pretrained as store
from jaxdl.data.store.packages import PyPI
from jaxdl.data.store.pretrained import find_folder, read_tokenizer
from jaxdl.data.synthetic.text import MockSentences
from jaxdl.data.text.tokenizers import BPE, Characters, Pretrained, Tokenizer, Vocabulary, Words
from jaxdl.errors import UserError
from jaxdl.interop.huggingface.transformers import with_token_rows

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


def byte_level(folder):
    """Saves a GPT-2 tokenizer: bytes, and one special token for all purposes, not in front."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(["a good film, a very good film"] * 4, trainer)
    tokenizer.add_special_tokens(["<|endoftext|>"])
    config = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>")
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return tokenizer


def unigram(folder):
    """Saves a T5 tokenizer: <pad>, </s> and <unk> in front, sentinels behind, no start token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    pieces = ["<pad>", "</s>", "<unk>", "▁", "▁good", "▁film", "ness", "s", "</", ">", "a", "d"]
    tokenizer = Tokenizer(models.Unigram([(piece, -float(place)) for place, piece in enumerate(pieces)], 2, False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(["<pad>", "</s>", "<unk>", "<extra_id_0>"])
    config = {"pad_token": "<pad>", "eos_token": {"content": "</s>"}, "unk_token": "<unk>"}
    (folder / "special_tokens_map.json").write_text(json.dumps(config))
    return tokenizer


def words(folder):
    """Saves a tokenizer with an added normal token, and start and end tokens in the middle."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

    names = ["good", "film", "</s>", "<s>", "<unk>", "ness", "a"]
    tokenizer = Tokenizer(models.WordLevel({name: place for place, name in enumerate(names)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["</s>", "<s>", "<unk>"])
    tokenizer.add_tokens([AddedToken("very long", normalized=False)])
    return tokenizer


@pytest.mark.parametrize("make", [byte_level, unigram, words])
def test_every_tokenizer_json_encodes_and_decodes_as_the_original(tmp_path, make):
    original = make(tmp_path)
    original.save(str(tmp_path / "tokenizer.json"))
    tokenizer, rows = Pretrained(str(tmp_path)).train(()), read_tokenizer(tmp_path).rows
    assert tokenizer[:4] == ("<pad>", "<start>", "<end>", "<unknown>")
    assert len(tokenizer) == len(rows) == Pretrained(str(tmp_path)).size
    assert Tokenizer.from_json(tokenizer.json) == tokenizer
    assert sorted(set(rows)) == list(range(original.get_vocab_size()))
    for text in ("good film", "a good film goodness", "very long a"):
        ids, expected = tokenizer.encode(text), original.encode(text, add_special_tokens=False).ids
        assert [rows[number] for number in ids] == expected
        assert tokenizer.decode(ids) == original.decode(expected)
        assert tokenizer.measure_all([text])[0][1].sum() == len(text)
    assert not {0, 1, 2} & set(tokenizer.encode("good <|endoftext|> </s> <pad>").tolist())


@pytest.mark.parametrize("make", [byte_level, unigram, words])
def test_a_pretrained_tokenizer_is_exported_with_equal_ids(tmp_path, make):
    from tokenizers import Tokenizer as Library

    make(tmp_path).save(str(tmp_path / "tokenizer.json"))
    tokenizer = Pretrained(str(tmp_path)).train(())
    exported = Library.from_str(tokenizer.huggingface)
    assert exported.encode("a good film").ids == tokenizer.encode("a good film").tolist()
    assert exported.decode(tokenizer.encode("a good film").tolist()) == tokenizer.decode(
        tokenizer.encode("a good film")
    )
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "tokenizer.json").write_text(tokenizer.huggingface)
    assert read_tokenizer(tmp_path / "again").rows == tuple(range(len(tokenizer)))
    assert (
        Pretrained(str(tmp_path / "again")).train(()).encode("a good film").tolist()
        == exported.encode("a good film").ids
    )


@pytest.mark.parametrize("kind", [Characters(20), Words(20), BPE(20)])
def test_a_tokenizer_of_a_run_encodes_equally_after_export(tmp_path, kind):
    tokenizer = kind.train(["a good film", "goodness, a film"])
    (tmp_path / "tokenizer.json").write_text(tokenizer.huggingface)
    restored = Pretrained(str(tmp_path)).train(())
    assert restored.encode("a good film").tolist() == tokenizer.encode("a good film").tolist()
    assert restored.decode(restored.encode("a good film, good")) == tokenizer.decode(
        tokenizer.encode("a good film, good")
    )


def test_embedding_rows_follow_their_tokens(folder):
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    rows = read_tokenizer(folder).rows
    table = np.arange(len(WORDS) + 2)[:, None] * np.ones((1, 3))
    moved = with_token_rows("encoder/embed/word/embedding", table, rows)
    tokenizer = Pretrained(str(folder)).train(())
    for place, text in enumerate(tokenizer):
        name = ("[PAD]", "[CLS]", "[SEP]", "[UNK]")[place] if place < 4 else text
        assert moved[place, 0] == vocabulary[name]
    np.testing.assert_array_equal(moved[len(WORDS) :], table[len(WORDS) :])  # rows without a token
    np.testing.assert_array_equal(with_token_rows("head/kernel", table.T, rows), moved.T)
    np.testing.assert_array_equal(with_token_rows("norm/scale", table, rows), table)


@given(st.permutations(range(9)), st.integers(0, 3))
def test_rows_are_a_permutation_with_special_tokens_first(tmp_path_factory, order, missing):
    names = ["[SEP]", "[CLS]", "[UNK]", "[PAD]", *"vwxyz"]
    vocabulary: dict[str, int] = dict(zip(names, order))
    for name in names[1 : 1 + missing]:
        vocabulary[name.lower()] = vocabulary.pop(name)
    folder = tmp_path_factory.mktemp("tokenizer")
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"type": "WordLevel", "vocab": vocabulary}}))
    read = read_tokenizer(folder)
    own = [vocabulary.get(name, vocabulary["[SEP]"]) for name in ("[PAD]", "[CLS]", "[SEP]", "[UNK]")]
    assert read.rows[:4] == tuple(own)
    assert sorted(read.rows) == sorted([*range(9), *[vocabulary["[SEP]"]] * missing])
    assert sorted(read.ids.values()) == list(range(4, 9 + missing))


def test_missing_or_unsupported_weights_are_refused(folder, tmp_path):
    with pytest.raises(UserError, match="--prepare=minilm"):
        find_folder("minilm")
    with pytest.raises(UserError, match="pass a folder with config"):
        find_folder(str(tmp_path / "none"))
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"type": "BPE", "vocab": {"a": 0}}}))
    with pytest.raises(UserError, match="has no end token; name it as eos_token or sep_token in"):
        Pretrained(str(folder)).train(())
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"type": "BPE", "vocab": {"a": 0, "</s>": 2}}}))
    with pytest.raises(UserError, match="ids of its 2 tokens are not consecutive"):
        Pretrained(str(folder)).train(())
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match=r"cannot read .*tokenizer\.json"):
        Pretrained(str(folder)).train(())


def test_damaged_weights_are_refused_and_prepared_again(tmp_path, monkeypatch, capsys):
    (tmp_path / "offered").mkdir()
    (tmp_path / "offered" / "config.json").write_text('{"layers": 6}')
    sha256 = hashlib.sha256(b'{"layers": 6}').hexdigest()
    monkeypatch.setenv("JAXDL_SOURCES", str(tmp_path / "offered"))
    source = PyPI("small-weights", "1.0", {"inside/config.json": sha256})
    monkeypatch.setattr(store, "WEIGHTS", {"small": (source, "inside")})
    path = store.pretrained("small") / "config.json"
    assert find_folder("small") == path.parent
    for damage in ('{"layers": 7}', None):
        path.unlink()
        if damage:
            path.write_text(damage)
        with pytest.raises(UserError, match=r"config\.json .*: jaxdl data --prepare=small"):
            find_folder("small")
        assert store.pretrained("small") == path.parent
        assert "small is prepared again" in capsys.readouterr().err
        assert path.read_text() == '{"layers": 6}'
