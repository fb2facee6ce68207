"""Recipe on short texts with a vocabulary, for the tests that damage a run and its prepared data."""

import numpy as np
import optax
import tensorflow_datasets as tfds
from fiddle.experimental.auto_config import auto_config

from jaxdl.config.experiment import Experiment
from jaxdl.data.builders._base import TEXT, ExamplesBuilder, classes
from jaxdl.data.dataset import Data, Dataset
from jaxdl.data.text.sentences import Sentences
from jaxdl.data.text.tokenizers import Vocabulary, Words
from jaxdl.models.rnn import GRU
from jaxdl.models.sequence import ManyToOne
from jaxdl.tasks.sequence_classification import SequenceClassification

WORDS = {"bad": ("dull", "weak", "flat"), "good": ("fine", "warm", "deft")}


class Builder(ExamplesBuilder, skip_registration=True):
    """`text`, three words, and `label`."""

    name = "damaged_texts"
    VERSION = tfds.core.Version("1.0.0")
    FEATURES = {"text": TEXT, "label": classes(*WORDS)}

    def examples(self):
        return {"train": _texts(48, seed=0), "test": _texts(16, seed=1)}


def _texts(count: int, seed: int) -> list[dict]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    return [{"text": " ".join(rng.choice(tuple(WORDS.values())[label], 3)), "label": int(label)} for label in labels]


@auto_config
def experiment(steps: int = 4, seed: int = 0) -> Experiment:
    vocabulary = Vocabulary(Words(16), Dataset("tests.damaged.texts", "train"))
    return Experiment(
        task=SequenceClassification(ManyToOne(outputs=2, features=4, vocabulary=16, embedding=4, cell=GRU)),
        data=Data(
            train=Sentences(Dataset("tests.damaged.texts", "train"), vocabulary, length=4),
            evals={"validation": Sentences(Dataset("tests.damaged.texts", "test"), vocabulary, length=4)},
            batch_size=16,
        ),
        optimizers={"train": optax.adam(1e-2)},
        steps=steps,
        seed=seed,
        log_every=1,
        eval_every=2,
        save_every=2,
    )
