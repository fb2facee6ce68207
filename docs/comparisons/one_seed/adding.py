"""Optimizers on the adding problem of length 50: an LSTM, 1,500 steps."""

from fiddle.experimental.auto_config import auto_config
from optimizers import optimizer

from jaxdl import CheckpointPolicy, Data, Experiment
from jaxdl.data.synthetic.arithmetic import AddingProblem
from jaxdl.models.rnn import LSTM
from jaxdl.models.sequence import ManyToOne
from jaxdl.tasks.sequence_regression import SequenceRegression

METRIC = "test/mse"
RATES = {
    "sgd": 0.3,
    "rmsprop": 3e-2,
    "adam": 1e-2,
    "nadam": 1e-2,
    "adabelief": 3e-2,
    "lion": 1.5e-3,
    "muon": 3e-2,
    "schedule_free": 1e-2,
}


@auto_config
def experiment(name: str = "adam", scale: float = 1.0, steps: int = 1500, seed: int = 0) -> Experiment:
    return Experiment(
        task=SequenceRegression(ManyToOne(outputs=1, features=64, cell=LSTM)),
        data=Data(
            train=AddingProblem(50, examples=50_000, split="train"),
            evals={"validation": AddingProblem(50, examples=1000, split="validation")},
            test=AddingProblem(50, examples=5000, split="test"),
            batch_size=64,
            eval_batch_size=500,
        ),
        optimizers={"train": optimizer(name, RATES, steps, scale)},
        steps=steps,
        seed=seed,
        log_every=100,
        eval_every=steps,
        keep=CheckpointPolicy(metric="validation/mse", mode="min"),
    )
