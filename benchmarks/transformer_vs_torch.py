"""GPT training and KV-cache generation throughput against PyTorch and transformers.

  python -m benchmarks.transformer_vs_torch [--rounds=5]      needs .[peer]

Training: 4 layers of 128 features and 4 heads, 256 tokens, batch 12, 88 characters, GELU, AdamW; the same parameters in
both, and equal losses to 1e-4 before timing. PyTorch runs eagerly and compiled. Generation: GPT-2 of 6 layers and 384
features with random weights, 8 prompts of 64 tokens, 128 new tokens, greedy, with a KV cache in both and the same
tokens. The contestants alternate; medians over the rounds.
"""

import argparse
import tempfile

from benchmarks.contest import Repeated, measure, report
from benchmarks.training import prepare

LENGTH, BATCH, VOCABULARY = 256, 12, 88
PROMPT, NEW, PROMPTS = 64, 128, 8


def peer_model(features: int, layers: int, heads: int, vocabulary: int, length: int):
    """Returns the GPT-2 of transformers with random weights."""
    import transformers

    config = transformers.GPT2Config(
        vocab_size=vocabulary,
        n_positions=length,
        n_embd=features,
        n_layer=layers,
        n_head=heads,
        attn_pdrop=0.0,
        embd_pdrop=0.0,
        resid_pdrop=0.0,
        bos_token_id=None,
        eos_token_id=None,
    )
    return transformers.GPT2LMHeadModel(config)


def ours_of(peer):
    """Returns the jaxdl decoder with the same parameters."""
    import jax.numpy as jnp

    from jaxdl.interop.huggingface.checkpoints import read_model

    with tempfile.TemporaryDirectory() as folder:
        peer.save_pretrained(folder)
        read = read_model(folder)
    import jax

    return read.model, jax.tree.map(jnp.asarray, read.variables["params"])


def training(rounds: int) -> None:
    import jax
    import numpy as np
    import optax
    import torch

    peer = peer_model(128, 4, 4, VOCABULARY, LENGTH).train()
    model, params = ours_of(peer)
    tokens = np.random.default_rng(0).integers(4, VOCABULARY, (BATCH, LENGTH + 1))
    optimizer = optax.adamw(1e-4)

    def loss(params, tokens):
        logits, _ = model.apply({"params": params}, tokens[:, :-1], train=True)
        return optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:]).mean()

    @jax.jit
    def step(params, state, tokens):
        value, gradient = jax.value_and_grad(loss)(params, tokens)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, value

    torch_tokens = torch.from_numpy(tokens)

    def their_loss(inputs, targets):
        logits = peer(inputs).logits
        return torch.nn.functional.cross_entropy(logits.reshape(-1, VOCABULARY), targets.reshape(-1))

    their_optimizer = torch.optim.AdamW(peer.parameters(), lr=1e-4)
    compiled = torch.compile(their_loss)

    def their_step(function):
        their_optimizer.zero_grad()
        value = function(torch_tokens[:, :-1], torch_tokens[:, 1:])
        value.backward()
        their_optimizer.step()
        return float(value.detach())

    state, our_initial_loss = optimizer.init(params), float(loss(params, tokens))
    their_initial_loss = float(their_loss(torch_tokens[:, :-1], torch_tokens[:, 1:]).detach())
    assert abs(our_initial_loss - their_initial_loss) < 1e-4, (our_initial_loss, their_initial_loss)
    print(f"losses {our_initial_loss:.6f}, {their_initial_loss:.6f}")

    def our_step():
        nonlocal params, state
        params, state, value = step(params, state, tokens)
        return float(value)

    sides = {"jaxdl": our_step, "eager": lambda: their_step(their_loss), "compiled": lambda: their_step(compiled)}
    contestants = {name: Repeated(side) for name, side in sides.items()}
    report("GPT step", measure(contestants, BATCH, 10, rounds), BATCH, "sequences/s")


def writing(rounds: int) -> None:
    import jax
    import jax.numpy as jnp
    import numpy as np
    import torch

    from jaxdl.decoding.beam_search import greedy

    peer = peer_model(384, 6, 6, 5000, PROMPT + NEW).eval()
    model, params = ours_of(peer)
    prompts = np.random.default_rng(0).integers(4, 5000, (PROMPTS, PROMPT)).astype(np.int32)

    @jax.jit
    def write(params, prompts):
        def step(carry, token):
            logits, carry = model.apply({"params": params}, token[:, None], carry=carry, train=False)
            return logits[:, 0], carry

        carry = model.initial_carry(len(prompts))
        _, carry = model.apply({"params": params}, prompts[:, :-1], carry=carry, train=False)
        return greedy(step, carry, prompts[:, -1], end=-1, max_length=NEW).tokens

    torch_prompts = torch.from_numpy(prompts.astype(np.int64))

    def theirs():
        with torch.no_grad():
            sequences = peer.generate(
                torch_prompts, max_new_tokens=NEW, do_sample=False, attention_mask=torch.ones_like(torch_prompts)
            )
        return sequences[:, PROMPT:].numpy()

    agreement = np.mean(np.asarray(write(params, jnp.asarray(prompts))) == theirs())
    print(f"{agreement:.1%} of the tokens are equal")
    sides = {"jaxdl": lambda: jax.block_until_ready(write(params, prompts)), "generate": theirs}
    contestants = {name: Repeated(side) for name, side in sides.items()}
    report("GPT generation", measure(contestants, PROMPTS * NEW, 1, rounds), PROMPTS * NEW, "tokens/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    training(rounds)
    writing(rounds)


if __name__ == "__main__":
    prepare()
    main()
