"""Export of Transformer runs as Hugging Face folders."""

import json
import os
import stat
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.commands import export, train
from jaxdl.data.text.tokenizers import Pretrained
from jaxdl.errors import UserError
from jaxdl.interop.huggingface.checkpoints import read_model
from jaxdl.interop.huggingface.transformers import TransformerWeights
from jaxdl.runs.restore import load_trained

RECIPE = '''
"""A GPT-2 of two blocks.

Result: none recorded yet
"""

import optax
from fiddle.experimental.auto_config import auto_config

from jaxdl.data.dataset import Data
from jaxdl.data.synthetic.text import MockText
from jaxdl.data.text.windows import Windows
from jaxdl.data.text.tokenizers import BPE, Vocabulary
from jaxdl.config.experiment import Experiment
from jaxdl.models.gpt import gpt2
from jaxdl.tasks.language_modelling import LanguageModelling


@auto_config
def experiment(norm: str = "layer"):
    corpus = MockText(examples=1, characters=600)
    windows = Windows(corpus, Vocabulary(BPE(40), corpus), 12)
    return Experiment(
        task=LanguageModelling(gpt2(40, 16, features=8, layers=2, heads=2, scan=True, norm=norm), carried=False),
        data=Data(train=windows, evals={}, batch_size=8),
        optimizers={"train": optax.adam(1e-2)},
        steps=2,
    )
'''


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "small_gpt.py"
    path.write_text(RECIPE)
    return str(path)


def test_a_language_model_is_exported_with_its_tokenizer(recipe, tmp_path):
    from tokenizers import Tokenizer

    run, out = str(tmp_path / "run"), tmp_path / "out"
    train.run(recipe, [], run)
    assert export.run(run, None, str(out)) == out
    trained = load_trained(run)
    read = read_model(out)
    tokens = np.array([[5, 6, 7, 8]], np.int32)
    logits = read.model.apply(read.variables, tokens, train=False)[0]
    causal: Any = trained.experiment.task.causal
    expected = causal(trained.state.params, {}, {"tokens": np.pad(tokens, ((0, 0), (0, 1)))})
    np.testing.assert_allclose(jax.nn.log_softmax(logits), expected, atol=1e-5)
    own_tokenizer = trained.tokenizers["tokens"]
    exported_tokenizer = Tokenizer.from_file(str(out / "tokenizer.json"))
    assert exported_tokenizer.encode("the cat sat").ids == own_tokenizer.encode("the cat sat").tolist()

    def content(name):
        return json.loads((out / name).read_text())

    assert {name: content("config.json")[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id")} == {
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    generation = content("generation_config.json")
    assert (generation["do_sample"], generation["temperature"], generation["top_k"]) == (True, 0.8, 0)
    assert (generation["max_new_tokens"], generation["suppress_tokens"]) == (200, [0, 1, 3])
    tokenizer = content("tokenizer_config.json")
    assert tokenizer["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert (tokenizer["padding_side"], tokenizer["model_max_length"], tokenizer["eos_token"]) == ("left", 16, "<end>")
    mask = os.umask(0)
    os.umask(mask)
    assert {stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()} == {0o666 & ~mask}

    # Fine-tuning from the exported folder starts from the run's parameters and its token ids.
    blank = trained.state.replace(params=jax.tree.map(jnp.zeros_like, trained.state.params), ema={})
    started = TransformerWeights(str(out), "language_model").load(blank)
    jax.tree.map(np.testing.assert_array_equal, started.params, trained.state.params)
    restored = Pretrained(str(out)).train(())
    assert restored.encode("the cat sat").tolist() == own_tokenizer.encode("the cat sat").tolist()


def test_models_without_an_equivalent_are_refused_before_writing(recipe, tmp_path):
    run, out = str(tmp_path / "run"), tmp_path / "out"
    train.run(recipe, ["norm=rms"], run)
    with pytest.raises(UserError, match="no Hugging Face equivalent"):
        export.run(run, None, str(out))
    assert not out.exists()
