"""Test size of experiments/transformer/code_ts_to_js.py."""

from experiments.transformer.code_ts_to_js import experiment
from jaxdl.data.synthetic.text import MockEdits


def tiny():
    config = experiment.as_buildable(steps=60, tokens=40, length=24, dropout=0.0)
    config.task.model.encoder.stack.features = 16
    config.task.model.encoder.stack.layers = 1
    config.task.model.encoder.stack.heads = 2
    config.optimizers["train"].adam_learning_rate = 0.02
    config.task.accepted = None
    config.task.model.encoder.word_dropout = 0.0
    del config.data.evals["unseen"]
    config.data.train.examples.corpus = MockEdits(examples=96)
    config.data.evals["validation"].corpus = MockEdits(examples=21, split="validation")
    config.data.train.examples.vocabulary.corpus = MockEdits(examples=48)
    config.data.evals["validation"].vocabulary.corpus = MockEdits(examples=48)
    config.data.evals["validation"].length = 24
    config.data.test, config.data.batch_size = None, 16
    config.data.eval_batch_size = None
    return config
