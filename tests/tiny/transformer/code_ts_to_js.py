"""Test size of experiments/transformer/code_ts_to_js.py."""

from experiments.transformer.code_ts_to_js import experiment
from jaxdl.data.synthetic.text import MockEdits


def tiny():
    config = experiment.as_buildable(
        steps=60,
        features=16,
        layers=1,
        heads=2,
        tokens=40,
        length=24,
        dropout=0.0,
        batch_size=16,
        adam_learning_rate=2e-2,
    )
    config.task.accepted = None
    config.task.model.encoder.word_dropout = 0.0
    config.data.train.corpus = MockEdits(examples=48)
    config.data.evals["validation"].corpus = MockEdits(examples=21, split="validation")
    config.data.train.vocabulary.corpus = MockEdits(examples=48)
    config.data.evals["validation"].vocabulary.corpus = MockEdits(examples=48)
    config.data.evals["validation"].length = 24
    config.data.test = None
    config.data.eval_batch_size = None
    return config
