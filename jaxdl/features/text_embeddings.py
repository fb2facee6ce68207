"""Sentence embeddings of texts as conditions of generative models."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.data.image.unpaired import Styles
from jaxdl.data.source import Batch, ColumnSource, as_texts, read_columns
from jaxdl.data.store.prepared import digest_of, digest_once
from jaxdl.data.store.pretrained import pretrained, read_tokenizer
from jaxdl.data.text.special_tokens import END, START
from jaxdl.data.text.tokenizers import Pretrained
from jaxdl.errors import UserError
from jaxdl.interop.huggingface.checkpoints import collections, read_model
from jaxdl.interop.huggingface.files import WEIGHTS
from jaxdl.interop.huggingface.transformers import with_token_rows
from jaxdl.models.bert import Encoder
from jaxdl.models.layers.token_embedding import padding_mask

LENGTH = 32  # tokens with <start> and <end>; longer texts are truncated
_BATCH = 16  # one shape for all calls, so that the embedding of a text does not depend on the others


@dataclass(frozen=True)
class TextConditioned:
    """Images of several styles with embeddings of their texts.

    Features: those of `corpus`; `embedding` float32 [examples, n + styles], the sentence embedding of the text and the
    one-hot style.

    Attributes:
      corpus: Images by style, in which `corpus.corpus` has the texts.
      text: Name of the texts' feature.
      encoder: BERT in Hugging Face format, as in `jaxdl.interop.huggingface.transformers.TransformerWeights`.
      style: Style of the texts that `predict` reads. None: the first one.
    """

    corpus: Styles
    text: str = "text"
    encoder: str = "minilm"
    style: str | None = None

    def load(self) -> ColumnSource:
        """Opens the images and embeds the texts.

        Raises:
          UserError: A feature does not exist, a text is not text, or the encoder is not a BERT encoder.
        """
        source = self.corpus.load()
        texts = as_texts(self.text, read_columns(self.corpus.corpus.load(), (self.text,))[self.text])
        embedded = sentence_embeddings(self.encoder, texts)
        styles = np.eye(len(self.corpus.features), dtype=np.float32)
        embedding = np.concatenate([_with_style(embedded, style) for style in styles])
        weights = pretrained(self.encoder) / WEIGHTS
        settings = [source.fingerprint, self.text, digest_once(weights, weights.stat().st_mtime_ns), LENGTH]
        return ColumnSource({**source.columns, "embedding": embedding}, digest_of(settings), source.names)

    def read(
        self, files: Sequence[str], texts: Sequence[str], names: Mapping[str, Sequence[str]]
    ) -> list[tuple[str, Batch]]:
        """Returns pairs (text, {`embedding`}) in the style `style`.

        Raises:
          UserError: Files were given, or the style does not exist.
        """
        del names
        if files:
            raise UserError("the model draws images of texts and reads no files; pass --text='a red heart'")
        styles = self.corpus.features
        if self.style is not None and self.style not in styles:
            raise UserError(f"style='{self.style}' does not exist; use one of {', '.join(styles)}")
        one_hot = np.eye(len(styles), dtype=np.float32)[styles.index(self.style or styles[0])]
        embedded = _with_style(sentence_embeddings(self.encoder, texts), one_hot)
        return [(text, {"embedding": row}) for text, row in zip(texts, embedded)]


def sentence_embeddings(encoder: str, texts: Sequence[str]) -> np.ndarray:
    """Returns sentence embeddings, float32 [texts, n], of mean square 1.

    The mean of the encoder's outputs over the tokens, normalized (Sentence-BERT; arXiv:1908.10084). It is computed on
    the CPU, so that all devices train on equal embeddings.

    Args:
      encoder: Folder or name of a BERT encoder, see `TextConditioned`.
      texts: Texts, truncated to 32 tokens.

    Raises:
      UserError: The folder does not exist, its model is not a BERT encoder, or a text is empty.
    """
    if empty := [number for number, text in enumerate(texts) if not text.strip()]:
        raise UserError(f"text {empty[0] + 1} of {len(texts)} is empty; pass a text such as 'a red heart'")
    model, variables, tokenizer = _encoder(encoder)
    sequences = [[START, *ids[: LENGTH - 2], END] for ids in map(list, tokenizer.encode_all(texts))]
    padded = -len(sequences) % _BATCH
    length = np.array([len(ids) for ids in sequences] + [1] * padded, np.int32)
    tokens = np.zeros((len(length), LENGTH), np.int32)
    for row, ids in enumerate(sequences):
        tokens[row, : len(ids)] = ids
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        embedded = [
            np.asarray(_embed(model, variables, tokens[start : start + _BATCH], length[start : start + _BATCH]))
            for start in range(0, len(tokens), _BATCH)
        ]
    return np.concatenate(embedded)[: len(texts)]


def _with_style(embedding: np.ndarray, style: np.ndarray) -> np.ndarray:
    return np.concatenate([embedding, np.broadcast_to(style, (len(embedding), len(style)))], axis=1)


@functools.lru_cache(maxsize=1)
def _encoder(name: str) -> tuple:
    """Returns the encoder's module, its variables in the order of jaxdl's token ids, and its tokenizer."""
    folder = pretrained(name)
    read = read_model(folder)
    if not isinstance(read.model, Encoder):
        raise UserError(f"{folder} is not a sentence encoder; pass a BertModel such as minilm")
    rows = read_tokenizer(folder).rows
    variables = collections({leaf: with_token_rows(leaf, array, rows) for leaf, array in read.arrays.items()})
    return read.model, variables, Pretrained(name).train(())


@functools.partial(jax.jit, static_argnums=0)
def _embed(model: Encoder, variables: dict, tokens: jax.Array, length: jax.Array) -> jax.Array:
    outputs = jnp.asarray(model.apply(variables, tokens, length=length, train=False))
    mask = padding_mask(tokens, length)[..., None]
    mean = jnp.sum(jnp.where(mask, outputs, 0.0), 1)
    return mean / jnp.sqrt(jnp.mean(jnp.square(mean), axis=-1, keepdims=True))
