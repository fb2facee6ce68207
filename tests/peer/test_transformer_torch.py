"""Our decoder in the shapes of GPT-2 and Llama against those of transformers, with random weights."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.models.transformer import gpt2, llama

torch = pytest.importorskip("torch", reason="the peer extra is not installed: torch")
transformers = pytest.importorskip("transformers", reason="the peer extra is not installed: transformers")

pytestmark = pytest.mark.peer

TOKENS = np.random.default_rng(0).integers(0, 50, (2, 9))


def theirs(model):
    """Their logits, and their weights by name; biases and norms are drawn, too."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        logits = model.eval()(torch.from_numpy(TOKENS)).logits.numpy()
    return logits, {name: value.detach().numpy() for name, value in model.state_dict().items()}


def ours(model, planted):
    """Our logits with the arrays planted, and that every one of ours was."""
    params = nn.meta.unbox(model.init(jax.random.key(0), TOKENS, train=False))["params"]
    flat = {"/".join(key.key for key in path): leaf.shape for path, leaf in jax.tree.leaves_with_path(params)}
    assert flat == {name: value.shape for name, value in planted.items()}
    nested: dict = {}
    for name, value in planted.items():
        *path, last = name.split("/")
        node = nested
        for part in path:
            node = node.setdefault(part, {})
        node[last] = jnp.asarray(value)
    return jax.jit(lambda tokens: model.apply({"params": nested}, tokens, train=False)[0])(TOKENS)


def test_gpt2():
    config = transformers.GPT2Config(vocab_size=50, n_positions=16, n_embd=24, n_layer=2, n_head=3)
    logits, weights = theirs(transformers.GPT2LMHeadModel(config))
    planted = {
        "embed/embedding": weights["transformer.wte.weight"],
        "place/embedding": weights["transformer.wpe.weight"],
    }
    norms, sides = {"ln_1": "norm1", "ln_2": "norm2"}, {"weight": "kernel", "bias": "bias"}
    for number in range(2):
        here, there = f"block{number + 1}", f"transformer.h.{number}"
        for theirs_, ours_ in norms.items():
            planted[f"{here}/{ours_}/scale"] = weights[f"{there}.{theirs_}.weight"]
            planted[f"{here}/{ours_}/bias"] = weights[f"{there}.{theirs_}.bias"]
        for side, name in sides.items():
            parts = np.split(weights[f"{there}.attn.c_attn.{side}"], 3, axis=-1)
            planted |= {
                f"{here}/attention/{part}/{name}": value for part, value in zip(("query", "key", "value"), parts)
            }
            planted[f"{here}/attention/out/{name}"] = weights[f"{there}.attn.c_proj.{side}"]
            planted[f"{here}/feed_forward/in/{name}"] = weights[f"{there}.mlp.c_fc.{side}"]
            planted[f"{here}/feed_forward/out/{name}"] = weights[f"{there}.mlp.c_proj.{side}"]
    planted["norm/scale"], planted["norm/bias"] = (weights[f"transformer.ln_f.{side}"] for side in ("weight", "bias"))
    found = ours(gpt2(50, 16, features=24, layers=2, heads=3), planted)
    np.testing.assert_allclose(found, logits, atol=1e-4)


def test_llama():
    config = transformers.LlamaConfig(
        vocab_size=50,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=6,
        num_key_value_heads=2,
        max_position_embeddings=16,
        rms_norm_eps=1e-5,
    )
    logits, weights = theirs(transformers.LlamaForCausalLM(config))
    planted = {
        "embed/embedding": weights["model.embed_tokens.weight"],
        "norm/scale": weights["model.norm.weight"],
        "head/kernel": weights["lm_head.weight"].T,
    }
    names = {
        "attention/query": "self_attn.q_proj",
        "attention/key": "self_attn.k_proj",
        "attention/value": "self_attn.v_proj",
        "attention/out": "self_attn.o_proj",
        "feed_forward/gate": "mlp.gate_proj",
        "feed_forward/in": "mlp.up_proj",
        "feed_forward/out": "mlp.down_proj",
    }
    for number in range(2):
        here, there = f"block{number + 1}", f"model.layers.{number}"
        planted[f"{here}/norm1/scale"] = weights[f"{there}.input_layernorm.weight"]
        planted[f"{here}/norm2/scale"] = weights[f"{there}.post_attention_layernorm.weight"]
        planted |= {
            f"{here}/{ours_}/kernel": weights[f"{there}.{theirs_}.weight"].T for ours_, theirs_ in names.items()
        }
    found = ours(llama(50, 16, features=24, layers=2, heads=6, kv_heads=2, hidden=40), planted)
    np.testing.assert_allclose(found, logits, atol=1e-4)
