"""Test size of experiments/transformer/questions.py."""

from experiments.transformer.questions import experiment
from jaxdl.data.synthetic.text import MockQuestions


def tiny():
    config = experiment.as_buildable(
        steps=60, features=16, layers=1, heads=2, tokens=60, length=24, batch_size=16, adam_learning_rate=2e-2
    )
    config.data.train.corpus = MockQuestions(examples=48)
    config.data.evals["validation"].corpus = MockQuestions(examples=21, split="validation")
    config.data.train.vocabulary.corpus = MockQuestions(examples=48)
    config.data.evals["validation"].vocabulary.corpus = MockQuestions(examples=48)
    config.data.test = None
    config.data.eval_batch_size = None
    return config
