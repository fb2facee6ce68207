"""Test size of experiments/autoencoder/credit_anomaly.py."""

from experiments.autoencoder.credit_anomaly import experiment
from jaxdl.data.series.rows import MockTable


def tiny():
    config = experiment.as_buildable(steps=40)
    config.task.model.widths = (16,)
    config.task.model.dropout = 0.1
    config.data.batch_size = 32
    config.optimizers["train"].learning_rate = 0.01
    config.task.model.features = 8
    parts = ((config.data.train, 64, 0, "train"), (config.data.evals["validation"], 21, 7, "validation"))
    for part, rows, anomalous, split in parts:
        part.table = MockTable(rows, anomalous, split=split)
        part.reference = MockTable(64)
        part.columns = ("kind", "x6", "x5", "x4", "x3", "x2", "x1")
    config.data.test = None
    config.data.eval_batch_size = None
    return config
