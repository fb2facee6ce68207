"""Test size of experiments/transformer/questions.py."""

from experiments.transformer.questions import experiment
from jaxdl.data.synthetic.text import MockQuestions


def tiny():
    config = experiment.as_buildable(steps=60, tokens=60, length=24)
    config.task.model.encoder.stack.features = 16
    config.task.model.encoder.stack.layers = 1
    config.task.model.encoder.stack.heads = 2
    config.data.batch_size = 16
    config.optimizers["train"].adam_learning_rate = 0.02
    config.data.train.corpus = MockQuestions(examples=48)
    config.data.evals["validation"].corpus = MockQuestions(examples=21, split="validation")
    config.data.train.vocabulary.corpus = MockQuestions(examples=48)
    config.data.evals["validation"].vocabulary.corpus = MockQuestions(examples=48)
    config.data.test = None
    config.data.eval_batch_size = None
    return config
