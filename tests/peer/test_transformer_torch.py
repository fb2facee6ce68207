"""Transformer weights are exchanged with transformers; the logits are equal."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.interop.huggingface.transformers import read_transformer, write_transformer
from jaxdl.models.t5 import t5 as t5_of_ours

torch = pytest.importorskip("torch", reason="the peer extra is not installed: torch")
transformers = pytest.importorskip("transformers", reason="the peer extra is not installed: transformers")

pytestmark = pytest.mark.peer

TOKENS = np.random.default_rng(0).integers(0, 50, (2, 9))


def gpt2():
    config = transformers.GPT2Config(vocab_size=50, n_positions=16, n_embd=24, n_layer=2, n_head=3)
    return transformers.GPT2LMHeadModel(config)


def llama(**changes):
    config = transformers.LlamaConfig(
        vocab_size=50,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=6,
        max_position_embeddings=16,
        **{"num_key_value_heads": 2, **changes},
    )
    return transformers.LlamaForCausalLM(config)


def bert():
    config = transformers.BertConfig(
        vocab_size=50,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=40,
        max_position_embeddings=16,
    )
    return transformers.BertForMaskedLM(config)


def t5(**changes):
    config = transformers.T5Config(
        vocab_size=50, d_model=24, d_kv=5, d_ff=40, num_layers=2, num_heads=3, decoder_start_token_id=0, **changes
    )
    return transformers.T5ForConditionalGeneration(config)


def vit():
    config = transformers.ViTConfig(
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=40,
        image_size=8,
        patch_size=4,
        num_labels=5,
    )
    return transformers.ViTForImageClassification(config)


def inputs(model):
    if isinstance(model, transformers.ViTForImageClassification):
        image = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
        return (image,), {"pixel_values": torch.from_numpy(image.transpose(0, 3, 1, 2))}
    tokens = torch.from_numpy(TOKENS)
    if isinstance(model, transformers.T5ForConditionalGeneration):
        return (TOKENS, TOKENS[::-1].copy()), {
            "input_ids": tokens,
            "decoder_input_ids": torch.from_numpy(TOKENS[::-1].copy()),
        }
    return (TOKENS,), {"input_ids": tokens}


def their_logits(model):
    with torch.no_grad():
        return model.eval()(**inputs(model)[1]).logits.numpy()


MAKES = {
    "gpt2": gpt2,
    "llama": llama,
    "llama tied": lambda: llama(tie_word_embeddings=True),
    "llama head": lambda: llama(head_dim=6),
    "bert": bert,
    "t5": t5,
    "t5 1.1": lambda: t5(feed_forward_proj="gated-gelu", tie_word_embeddings=False),
    "vit": vit,
}


@pytest.mark.parametrize("name", MAKES)
def test_a_round_trip_preserves_the_logits(tmp_path, name):
    torch.manual_seed(0)
    peer = MAKES[name]()
    with torch.no_grad():
        for parameter in peer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    peer.save_pretrained(tmp_path / "theirs")
    model, params = read_transformer(tmp_path / "theirs")
    arguments = [jnp.asarray(array) for array in inputs(peer)[0]]
    logits = jax.jit(lambda params: model.apply({"params": params}, *arguments, train=False))(params)
    logits = logits[0] if isinstance(logits, tuple) else logits
    np.testing.assert_allclose(logits, their_logits(peer), atol=1e-4)
    write_transformer(tmp_path / "ours", model, params)
    restored = type(peer).from_pretrained(tmp_path / "ours")
    np.testing.assert_allclose(their_logits(restored), their_logits(peer), atol=1e-5)


def test_an_untied_output_layer_is_exchanged(tmp_path):
    model = t5_of_ours(50, 16, tied=False, features=24, layers=1, heads=3, head_size=5, hidden=40)
    arguments = [jnp.asarray(TOKENS), jnp.asarray(TOKENS)]
    params = nn.unbox(model.init(jax.random.key(0), *arguments, train=False))["params"]
    write_transformer(tmp_path, model, params)
    peer = transformers.T5ForConditionalGeneration.from_pretrained(tmp_path)
    with torch.no_grad():
        tokens = torch.from_numpy(TOKENS)
        expected = peer.eval()(input_ids=tokens, decoder_input_ids=tokens).logits.numpy()
    np.testing.assert_allclose(model.apply({"params": params}, *arguments, train=False), expected, atol=1e-4)


def test_an_encoder_without_a_head_is_exchanged(tmp_path):
    peer = transformers.BertModel(bert().config)
    peer.save_pretrained(tmp_path)
    model, params = read_transformer(tmp_path)
    outputs = model.apply({"params": params}, jnp.asarray(TOKENS), train=False)
    with torch.no_grad():
        expected = peer.eval()(torch.from_numpy(TOKENS)).last_hidden_state.numpy()
    np.testing.assert_allclose(outputs, expected, atol=1e-4)
