"""BERT as `BertForMaskedLM`, or as `BertModel` without its pooler."""

from collections.abc import Mapping
from typing import Any

from jaxdl.errors import UserError
from jaxdl.interop.huggingface.layout import (
    Architecture,
    Details,
    TensorRef,
    Tensors,
    dense_ref,
    full_heads,
    hidden,
    same_architecture,
    token_inputs,
)
from jaxdl.models.bert import Encoder, MaskedLanguageModel, bert

_OUTSIDE = {
    "embed/word/embedding": "embeddings.word_embeddings.weight",
    "embed/place/embedding": "embeddings.position_embeddings.weight",
    "embed/type/embedding": "embeddings.token_type_embeddings.weight",
    "embed/norm_out/scale": "embeddings.LayerNorm.weight",
    "embed/norm_out/bias": "embeddings.LayerNorm.bias",
}
_HEAD = {
    "transform/kernel": TensorRef("cls.predictions.transform.dense.weight", "transposed"),
    "transform/bias": TensorRef("cls.predictions.transform.dense.bias"),
    "norm/scale": TensorRef("cls.predictions.transform.LayerNorm.weight"),
    "norm/bias": TensorRef("cls.predictions.transform.LayerNorm.bias"),
    "bias": TensorRef("cls.predictions.bias"),
}
_BLOCK = {
    "attention/query": "attention.self.query",
    "attention/key": "attention.self.key",
    "attention/value": "attention.self.value",
    "attention/out": "attention.output.dense",
    "norm1": "attention.output.LayerNorm",
    "feed_forward/in": "intermediate.dense",
    "feed_forward/out": "output.dense",
    "norm2": "output.LayerNorm",
}


def _model(settings: Mapping[str, Any], tensors: Tensors) -> Encoder | MaskedLanguageModel:
    encoder = bert(
        settings.get("vocab_size", 30_522),
        settings.get("max_position_embeddings", 512),
        features=settings.get("hidden_size", 768),
        layers=settings.get("num_hidden_layers", 12),
        heads=settings.get("num_attention_heads", 12),
        hidden=settings.get("intermediate_size", 3072),
        epsilon=settings.get("layer_norm_eps", 1e-12),
    )
    return MaskedLanguageModel(encoder) if "cls.predictions.bias" in tensors else encoder


def _config(model: Any, arrays: Mapping[str, Any], details: Details) -> dict[str, Any] | None:
    del arrays, details
    encoder = model.encoder if isinstance(model, MaskedLanguageModel) else model
    if not isinstance(encoder, Encoder) or not encoder.embedding_norm or (encoder.types, encoder.cases) != (2, 0):
        return None
    stack = encoder.stack
    if not same_architecture(stack, bert().stack) or not full_heads(stack):
        return None
    return {
        "architectures": ["BertModel" if encoder is model else "BertForMaskedLM"],
        "vocab_size": encoder.vocabulary,
        "max_position_embeddings": encoder.length,
        "hidden_size": stack.features,
        "num_hidden_layers": stack.layers,
        "num_attention_heads": stack.heads,
        "intermediate_size": hidden(stack),
        "layer_norm_eps": stack.epsilon,
        "type_vocab_size": encoder.types,
        "tie_word_embeddings": True,
    }


def _tensor_ref(model: Any, name: str) -> TensorRef:
    if name in _HEAD:
        return _HEAD[name]
    name = name.removeprefix("encoder/")
    if name in _OUTSIDE:
        return TensorRef(f"bert.{_OUTSIDE[name]}")
    _, block, rest = name.split("/", 2)
    module, _, array = rest.rpartition("/")
    return dense_ref(f"bert.encoder.layer.{block.removeprefix('block_')}.{_BLOCK[module]}", array)


def _copies(settings: Mapping[str, Any], tensors: Tensors) -> dict[str, str]:
    """Returns the tensors of the tied output layer.

    Raises:
      UserError: The output layer is untied, but its weights are missing, so that transformers would draw them.
    """
    copies = {
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    }
    missing = [name for name in copies if name not in tensors]
    if not settings.get("tie_word_embeddings", True) and "cls.predictions.bias" in tensors and missing:
        raise UserError(f"tie_word_embeddings=False, but the tensor '{missing[0]}' is missing; save the model again")
    return copies


BERT = Architecture(
    kind="bert",
    settings=(
        *("vocab_size", "max_position_embeddings", "hidden_size", "num_hidden_layers", "num_attention_heads"),
        *("intermediate_size", "layer_norm_eps", "tie_word_embeddings"),
    ),
    fixed={
        "hidden_act": "gelu",
        "position_embedding_type": "absolute",
        "type_vocab_size": 2,
        "is_decoder": False,
        "is_encoder_decoder": False,
        "add_cross_attention": False,
    },
    model=_model,
    config=_config,
    tensor_ref=_tensor_ref,
    inputs=token_inputs,
    inert=(
        *("directionality", "pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers"),
        *("pooler_size_per_head", "pooler_type"),
    ),
    copies=_copies,
    prefix="bert.",
    body="encoder/",
    ignored=(
        *("embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias"),
        *("cls.seq_relationship.weight", "cls.seq_relationship.bias"),
    ),
)
