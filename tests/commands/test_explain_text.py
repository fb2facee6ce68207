"""Text explanations of Transformers: attention weights, probabilities, neighbours, pages."""

import math
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import pytest

from jaxdl.commands import explain_text, train
from jaxdl.errors import UserError
from jaxdl.models.layers.attention import SEEN, MultiHeadAttention
from jaxdl.viz.attention import attention_page, neighbour_page, neighbours, probability_page

RECIPE = '''
"""A decoder of two blocks.

Result: none recorded yet
"""

import optax
from fiddle.experimental.auto_config import auto_config

from jaxdl.data.dataset import Data
from jaxdl.data.synthetic.text import MockText
from jaxdl.data.text.windows import Windows
from jaxdl.data.text.tokenizers import BPE, Vocabulary
from jaxdl.config.experiment import Experiment
from jaxdl.models.gpt import Decoder
from jaxdl.models.transformer import Stack
from jaxdl.tasks.language_modelling import LanguageModelling


@auto_config
def experiment(scan: bool = False):
    corpus = MockText(examples=1, characters=600)
    return Experiment(
        task=LanguageModelling(Decoder(40, 16, Stack(8, 2, 2, causal=True, scan=scan)), carried=False),
        data=Data(train=Windows(corpus, Vocabulary(BPE(40), corpus), 12), evals={}, batch_size=8),
        optimizers={"train": optax.adam(1e-2)},
        steps=1,
    )
'''


def test_attention_weights_reproduce_the_output():
    module = MultiHeadAttention(features=8, heads=2, causal=True, rotary=100.0, use_bias=False)
    x = jax.random.normal(jax.random.key(0), (2, 5, 8))
    params: Any = nn.unbox(module.init(jax.random.key(1), x))
    assert set(params) == {"params"}
    outcome: Any = module.apply(params, x, mutable=[SEEN])
    y, intermediates = outcome
    (weights,) = intermediates[SEEN]["weights"]
    assert weights.shape == (2, 2, 5, 5)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
    assert np.all(np.triu(weights[0, 0], 1) == 0)
    remembered: Any = module.apply(params, x, method="project_memory")
    mixed = np.einsum("bhnm,bmhd->bnhd", weights, remembered["value"]).reshape(2, 5, 8)
    np.testing.assert_allclose(mixed @ params["params"]["out"]["kernel"], y, atol=1e-5)


def test_neighbours_have_the_largest_cosine():
    vectors = np.array([[9, 9], [9, 9], [9, 9], [9, 9], [1, 0], [2, 0.1], [0, 1], [-1, 0]], np.float32)
    nearest = neighbours(vectors, 4, count=3)
    assert [token for token, _ in nearest] == [5, 6, 7]
    np.testing.assert_allclose([cosine for _, cosine in nearest], [2 / np.hypot(2, 0.1), 0, -1], atol=1e-6)


def test_pages_are_drawn():
    weights = [np.full((3, 6, 6), 1 / 6)] * 2
    page = attention_page(weights, ["the", " cat", "\n", "x", "y", "z"])
    assert page.dtype == np.uint8
    assert page.shape[1] > 3 * 150
    dark = probability_page(["a", "b"], [math.nan, 1e-9]).astype(int)
    light = probability_page(["a", "b"], [math.nan, 0.99]).astype(int)
    assert dark[34:58, 20:29].sum() < light[34:58, 20:29].sum()
    assert neighbour_page([("a", [("b", 0.5)])]).shape[1] == 900
    for page, empty in ((attention_page, ([], [])), (probability_page, ([], [])), (neighbour_page, ([],))):
        with pytest.raises(ValueError, match="needs at least one"):
            page(*empty)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "looking_gpt.py"
    path.write_text(RECIPE)
    return str(path)


@pytest.mark.slow
@pytest.mark.parametrize("scan", [False, True])
def test_a_text_has_three_pages(recipe, tmp_path, scan, capsys):
    train.run(recipe, [f"scan={scan}"], str(tmp_path / "run"))
    capsys.readouterr()
    paths = explain_text.run(str(tmp_path / "run"), ["the cat sat", "on a mat"])
    kinds = ("attention", "probabilities", "neighbours")
    assert [path.name for path in paths] == [f"1_{number}_{kind}.png" for number in (0, 1) for kind in kinds]
    assert capsys.readouterr().out == "".join(f"{path}\n" for path in paths)
    with pytest.raises(UserError, match="has no tokens"):
        explain_text.run(str(tmp_path / "run"), [""])
