"""Recurrent layers against PyTorch, with its weights."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.models.rnn import GRU, LSTM, RNN

pytestmark = pytest.mark.peer
torch = pytest.importorskip("torch")
SIZE, CHANNELS = 6, 5


@pytest.mark.parametrize(("cell", "peer"), [(RNN, "RNN"), (GRU, "GRU"), (LSTM, "LSTM")])
def test_outputs_and_state_match_torch(cell, peer):
    torch.manual_seed(0)
    torch_layer = {"RNN": torch.nn.RNN, "GRU": torch.nn.GRU, "LSTM": torch.nn.LSTM}[peer](
        CHANNELS, SIZE, batch_first=True
    )
    x = torch.randn(3, 9, CHANNELS)
    expected, last = torch_layer(x)
    weights = {name: value.detach().numpy() for name, value in torch_layer.named_parameters()}
    bias, recurrent_bias = weights["bias_ih_l0"], weights["bias_hh_l0"]
    params = {"kernel": weights["weight_ih_l0"].T, "recurrent_kernel": weights["weight_hh_l0"].T}
    if peer == "GRU":
        params["bias"] = bias + np.concatenate([recurrent_bias[: 2 * SIZE], np.zeros(SIZE, np.float32)])
        params["candidate_bias"] = recurrent_bias[2 * SIZE :]
    else:
        params["bias"] = bias + recurrent_bias
    outputs, state = cell(SIZE).apply({"params": params}, jnp.asarray(x.numpy()))
    np.testing.assert_allclose(outputs, expected.detach().numpy(), atol=1e-5)
    for actual, expected_state in zip(state, last if peer == "LSTM" else (last,)):
        np.testing.assert_allclose(actual, expected_state[0].detach().numpy(), atol=1e-5)
