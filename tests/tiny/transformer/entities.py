"""Test size of experiments/transformer/entities.py."""

from experiments.transformer.entities import experiment
from jaxdl.data.synthetic.text import MockEntities
from jaxdl.data.text.tagging import Tagged
from jaxdl.data.text.tokenizers import BPE, Vocabulary


def tiny():
    config = experiment.as_buildable(steps=60, length=12)
    config.data.batch_size = 16
    config.optimizers["train"].learning_rate = 0.01
    config.task.model.encoder.vocabulary = 60
    config.task.model.encoder.length = 16
    config.task.model.encoder.features = 16
    config.task.model.encoder.layers = 1
    config.task.model.encoder.heads = 2
    config.task.model.encoder.hidden = 16
    config.task.model.outputs = 5
    config.task.tags = ("B-bad", "B-good", "I-bad", "I-good", "O")
    vocabulary = Vocabulary(BPE(60), MockEntities(examples=48))
    config.data.train = Tagged(MockEntities(examples=48), vocabulary, MockEntities(examples=48), length=12, case=True)
    config.data.evals["validation"] = Tagged(
        MockEntities(examples=21, split="validation"), vocabulary, MockEntities(examples=48), length=12, case=True
    )
    config.data.test = None
    config.start = None
    return config
