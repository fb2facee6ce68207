"""GPT-2 and Llama in Hugging Face's format: a local folder with config.json and model.safetensors, read and written.

The folder is what `GPT2LMHeadModel.save_pretrained` or `LlamaForCausalLM.save_pretrained` of transformers writes;
nothing is downloaded, and neither transformers nor torch is needed. GPT-2 keeps its dense kernels as [in, out], with
those of query, key and value side by side; Llama keeps [out, in]; ours are [in, out], each by itself.
"""

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxdl.errors import UserError, nearest
from jaxdl.interop.huggingface import CONFIG, read_folder, read_json, read_tensors, write_folder
from jaxdl.models.transformer import Decoder, gpt2, llama

PyTree = Any

# What config.json may vary in transformers, and our decoder does not in that shape.
FIXED = {
    "gpt2": {
        "activation_function": "gelu_new",
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "add_cross_attention": False,
        "tie_word_embeddings": True,
    },
    "llama": {"hidden_act": "silu", "attention_bias": False, "mlp_bias": False},
}
_LLAMA = {
    "norm1/scale": "input_layernorm",
    "norm2/scale": "post_attention_layernorm",
    "attention/query/kernel": "self_attn.q_proj",
    "attention/key/kernel": "self_attn.k_proj",
    "attention/value/kernel": "self_attn.v_proj",
    "attention/out/kernel": "self_attn.o_proj",
    "feed_forward/gate/kernel": "mlp.gate_proj",
    "feed_forward/in/kernel": "mlp.up_proj",
    "feed_forward/out/kernel": "mlp.down_proj",
}
_GPT2 = {
    "norm1": "ln_1",
    "norm2": "ln_2",
    "attention/query": "attn.c_attn",
    "attention/key": "attn.c_attn",
    "attention/value": "attn.c_attn",
    "attention/out": "attn.c_proj",
    "feed_forward/in": "mlp.c_fc",
    "feed_forward/out": "mlp.c_proj",
}
_PARTS = ("attention/query", "attention/key", "attention/value")  # of c_attn, in this order


class Language(NamedTuple):
    """A checkpoint as our decoder takes it.

    Attributes:
      model: the decoder.
      params: float32 numpy arrays, as `model.init` names them.
    """

    model: Decoder
    params: PyTree


class _Place(NamedTuple):
    """Where an array of ours is in their file: a tensor, of which it is one of `parts`, transposed or not."""

    tensor: str
    part: int
    parts: int
    transposed: bool


def read_decoder(folder: str | Path) -> Language:
    """The checkpoint in a folder, in one file or in shards with an index, as our decoder.

    Raises:
      UserError: no such folder or file, a file that is damaged, a model that is neither GPT-2 nor Llama or that ours
        cannot be, a tensor that is missing, left over, or of another shape.
    """
    path = read_folder(folder)
    config, tensors = read_json(path / CONFIG), read_tensors(path)
    kind = str(config.get("model_type"))
    if kind not in FIXED:
        raise UserError(f"{path / CONFIG} is of model_type '{kind}'; {nearest(kind, FIXED)}")
    for key, value in FIXED[kind].items():
        if config.get(key, value) != value:
            raise UserError(f"{path / CONFIG}: {key} is {config[key]!r}; the decoder here has {value!r} only")
    model = _from_gpt2(config) if kind == "gpt2" else _from_llama(config, path)
    init = functools.partial(model.init, train=False)
    expected = nn.unbox(jax.eval_shape(init, jax.random.key(0), jnp.zeros((1, 2), jnp.int32)))["params"]
    filled, unused = {}, {name for name in tensors if not name.endswith((".attn.bias", ".attn.masked_bias"))}
    if model.tied:
        unused.discard("lm_head.weight")
    for name, leaf in _flat(expected).items():
        place = _place(kind, name)
        if place.tensor not in tensors:
            raise UserError(f"{path}: tensor '{place.tensor}' is missing, which fills {name}; use the same model")
        value = tensors[place.tensor]
        value = np.split(value.T if place.transposed else value, place.parts, axis=-1)[place.part]
        if value.shape != leaf.shape:
            raise UserError(
                f"{path}: tensor '{place.tensor}' has shape {list(value.shape)} in the order of {name}, which has"
                f" {list(leaf.shape)}; use the same model"
            )
        filled[name] = np.ascontiguousarray(value, np.float32)
        unused.discard(place.tensor)
    if unused:
        shown = ", ".join(sorted(unused)[:3]) + (", ..." if len(unused) > 3 else "")
        raise UserError(f"{path}: {len(unused)} tensors have no place in the model ({shown}); use the same model")
    return Language(model, unflatten_dict(filled, sep="/"))


def write_decoder(folder: str | Path, model: Decoder, params: PyTree) -> None:
    """Writes config.json and model.safetensors, which transformers loads as `AutoModelForCausalLM`.

    Args:
      folder: made if it is not there.

    Raises:
      UserError: a model that is neither GPT-2 nor Llama, or a folder that holds a model or cannot be written.
    """
    config = _config(model)
    found: dict[str, dict[int, np.ndarray]] = {}
    for name, leaf in _flat(jax.device_get(nn.unbox(params))).items():
        place = _place(config["model_type"], name)
        found.setdefault(place.tensor, {})[place.part] = leaf.T if place.transposed else leaf
    tensors = {
        name: np.ascontiguousarray(np.concatenate([parts[number] for number in sorted(parts)], axis=-1))
        for name, parts in found.items()
    }
    write_folder(Path(folder).expanduser(), config, tensors)


def _from_gpt2(config: Mapping[str, Any]) -> Decoder:
    features = config.get("n_embd", 768)
    return gpt2(
        config.get("vocab_size", 50_257),
        config.get("n_positions", 1024),
        features=features,
        layers=config.get("n_layer", 12),
        heads=config.get("n_head", 12),
        hidden=config.get("n_inner") or 4 * features,
        epsilon=config.get("layer_norm_epsilon", 1e-5),
    )


def _from_llama(config: Mapping[str, Any], path: Path) -> Decoder:
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if rope.get("rope_type", "default") != "default":
        raise UserError(f"{path / CONFIG}: rope_type is {rope['rope_type']!r}; the decoder here has 'default' only")
    heads = config.get("num_attention_heads", 32)
    return llama(
        config.get("vocab_size", 32_000),
        config.get("max_position_embeddings", 2048),
        features=config.get("hidden_size", 4096),
        layers=config.get("num_hidden_layers", 32),
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_size=config.get("head_dim"),
        hidden=config.get("intermediate_size", 11_008),
        epsilon=config.get("rms_norm_eps", 1e-6),
        rotary_base=float(rope.get("rope_theta", config.get("rope_theta", 10_000.0))),
        tied=config.get("tie_word_embeddings", False),
    )


def _config(model: Decoder) -> dict[str, Any]:
    """config.json for a model, where there is one that means the same."""
    hidden, heads = model.hidden or 4 * model.features, model.heads
    if _like(model, gpt2()) and model.kv_heads in (None, heads) and model.head_size is None:
        return {
            "architectures": ["GPT2LMHeadModel"],
            "model_type": "gpt2",
            "vocab_size": model.vocabulary,
            "n_positions": model.length,
            "n_embd": model.features,
            "n_layer": model.layers,
            "n_head": heads,
            "n_inner": hidden,
            "layer_norm_epsilon": model.epsilon,
            "torch_dtype": "float32",
            **FIXED["gpt2"],
        }
    if _like(model, llama(tied=model.tied)):
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": model.vocabulary,
            "max_position_embeddings": model.length,
            "hidden_size": model.features,
            "num_hidden_layers": model.layers,
            "num_attention_heads": heads,
            "num_key_value_heads": model.kv_heads or heads,
            "head_dim": model.head_size or model.features // heads,
            "intermediate_size": hidden,
            "rms_norm_eps": model.epsilon,
            "rope_theta": model.rotary_base,
            "tie_word_embeddings": model.tied,
            "torch_dtype": "float32",
            **FIXED["llama"],
        }
    raise UserError(
        "the model has no Hugging Face equivalent: train a decoder with the choices of jaxdl.models.transformer.gpt2 or"
        " llama, of any size, to export it"
    )


def _like(model: Decoder, shape: Decoder) -> bool:
    """Whether a model made the choices of a published one, whatever its size."""
    choices = ("positions", "norm", "order", "norm_bias", "activation", "gated", "use_bias", "tied", "window")
    return all(getattr(model, name) == getattr(shape, name) for name in choices)


def _flat(params: Mapping[str, Any]) -> dict[str, Any]:
    return flatten_dict(params, sep="/")  # pyright: ignore[reportReturnType]


def _place(kind: str, name: str) -> _Place:
    """Where our array called `name` is."""
    for beginning, place in _outside(kind):
        if name == beginning:
            return place
    block, _, rest = name.partition("/")
    number = int(block.removeprefix("block")) - 1
    if kind == "llama":
        return _Place(f"model.layers.{number}.{_LLAMA[rest]}.weight", 0, 1, "kernel" in rest)
    module, _, array = rest.rpartition("/")
    side = "bias" if array == "bias" else "weight"
    fused = module in _PARTS
    part, parts = (_PARTS.index(module), len(_PARTS)) if fused else (0, 1)
    return _Place(f"transformer.h.{number}.{_GPT2[module]}.{side}", part, parts, False)


def _outside(kind: str) -> Iterator[tuple[str, _Place]]:
    """What is in no block."""
    names = {
        "gpt2": {
            "embed/embedding": "transformer.wte.weight",
            "place/embedding": "transformer.wpe.weight",
            "norm/scale": "transformer.ln_f.weight",
            "norm/bias": "transformer.ln_f.bias",
        },
        "llama": {
            "embed/embedding": "model.embed_tokens.weight",
            "norm/scale": "model.norm.weight",
            "head/kernel": "lm_head.weight",
        },
    }[kind]
    for ours, theirs in names.items():
        yield ours, _Place(theirs, 0, 1, ours.endswith("kernel"))
