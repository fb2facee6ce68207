"""Test size of experiments/transformer/austen_bert.py."""

from experiments.transformer.austen_bert import experiment
from jaxdl.data.synthetic.text import MockText


def tiny():
    config = experiment.as_buildable(steps=80, tokens=40, length=15)
    config.task.model.encoder.stack.features = 16
    config.task.model.encoder.stack.layers = 1
    config.task.model.encoder.stack.heads = 2
    config.data.batch_size = 16
    config.optimizers["train"].adam_learning_rate = 0.01
    config.data.train.corpus = MockText(examples=2, characters=1500)
    config.data.train.vocabulary.corpus = MockText(examples=2, characters=1500)
    config.data.evals["validation"].corpus = MockText(examples=1, characters=300, split="validation")
    config.data.test = None
    config.data.eval_batch_size = None
    return config
