"""Test size of experiments/transformer/scaling_law.py."""

from experiments.transformer.scaling_law import experiment
from jaxdl.data.synthetic.text import MockText


def tiny():
    config = experiment.as_buildable(width=32, steps=40, length=12)
    config.task.model.stack.features = 16
    config.task.model.stack.layers = 1
    config.data.batch_size = 16
    config.optimizers["train"].adam_learning_rate = 0.01
    config.task.new_tokens = 4
    config.data.train.corpus = MockText(examples=2, characters=1500)
    config.data.train.vocabulary.corpus = MockText(examples=2, characters=1500)
    config.data.evals["validation"].corpus = MockText(examples=1, characters=300, split="validation")
    config.data.eval_batch_size = None
    return config
