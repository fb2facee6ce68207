"""GPT-2 and Llama go to and from transformers, and the logits stay the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.interop.decoders import read_decoder, write_decoder

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


def their_logits(model):
    with torch.no_grad():
        return model.eval()(torch.from_numpy(TOKENS)).logits.numpy()


@pytest.mark.parametrize("make", [gpt2, llama, lambda: llama(tie_word_embeddings=True), lambda: llama(head_dim=6)])
def test_weights_go_there_and_back(tmp_path, make):
    torch.manual_seed(0)
    peer = make()
    with torch.no_grad():
        for parameter in peer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    peer.save_pretrained(tmp_path / "theirs")
    model, params = read_decoder(tmp_path / "theirs")
    found = jax.jit(lambda params: model.apply({"params": params}, jnp.asarray(TOKENS), train=False)[0])(params)
    np.testing.assert_allclose(found, their_logits(peer), atol=1e-4)
    write_decoder(tmp_path / "ours", model, params)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
    np.testing.assert_allclose(their_logits(again), their_logits(peer), atol=1e-5)
