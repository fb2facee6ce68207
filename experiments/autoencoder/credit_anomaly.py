"""Credit-default detection on simulated tabular data: autoencoder trained on non-defaulters.

Result: 0.861 +- 0.015 test auroc, 5 seeds, 0.21 min, 0.00081 TFLOP on AMD EPYC (2 cores)
Run:    python launch.py --config=experiments/autoencoder/credit_anomaly.py

A two-dimensional code can nearly copy the four inputs. Input dropout forces the network to model their dependence.
"""

from fiddle.experimental.auto_config import auto_config

from jaxdl import CheckpointPolicy, Data, Dataset, Experiment
from jaxdl.data.series.rows import Tabular
from jaxdl.models.autoencoder import DenseAutoencoder
from jaxdl.tasks.anomaly_detection import AnomalyDetection
from jaxdl.training.optimizers import adamw

METRIC = "test/auroc"
COLUMNS = ("balance", "income", "student")


@auto_config
def rows(split: str) -> Tabular:
    """Returns rows standardized by the columns of the training split."""
    return Tabular(Dataset("credit_default", split), Dataset("credit_default", "train"), COLUMNS)


@auto_config
def experiment(steps: int = 600, seed: int = 0) -> Experiment:
    return Experiment(
        task=AnomalyDetection(
            DenseAutoencoder(features=4, code=2, widths=(32, 16), dropout=0.5), quantile=0.95, calibration=0.2
        ),
        data=Data(
            train=rows("train"),
            evals={"validation": rows("validation")},
            test=rows("test"),
            batch_size=128,
            eval_batch_size=1024,
        ),
        optimizers={"train": adamw(learning_rate=1e-3, steps=steps, warmup=0.05, weight_decay=0.0)},
        steps=steps,
        seed=seed,
        log_every=100,
        eval_every=200,
        save_every=200,
        keep=CheckpointPolicy(metric="validation/auroc"),
    )
