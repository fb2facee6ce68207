"""Sentiment of film-review snippets: bidirectional GRU trained from scratch.

Result: 0.794 test accuracy, 1 seed, 0.47 min on AMD EPYC (2 cores)
Run:    python launch.py --config=experiments/rnn/sentiment.py

Word dropout and a dropout of 0.5 limit overfitting on a small data set.
"""

from fiddle.experimental.auto_config import auto_config

from jaxdl import CheckpointPolicy, Data, Dataset, Experiment
from jaxdl.data.text.sentences import Sentences
from jaxdl.data.text.tokenizers import Vocabulary, Words
from jaxdl.models.rnn import GRU
from jaxdl.models.sequence import ManyToOne
from jaxdl.tasks.sequence_classification import SequenceClassification
from jaxdl.training.optimizers import adamw

METRIC = "test/accuracy"


@auto_config
def experiment(steps: int = 600, seed: int = 0) -> Experiment:
    vocabulary = Vocabulary(Words(8000), Dataset("movie_reviews", "train"))
    return Experiment(
        task=SequenceClassification(
            ManyToOne(
                outputs=2,
                features=64,
                vocabulary=8000,
                embedding=128,
                cell=GRU,
                bidirectional=True,
                pool=("mean", "max"),
                dropout=0.5,
                word_dropout=0.2,
            ),
            label_smoothing=0.1,
        ),
        data=Data(
            train=Sentences(Dataset("movie_reviews", "train"), vocabulary, length=48),
            evals={"validation": Sentences(Dataset("movie_reviews", "validation"), vocabulary, length=64)},
            test=Sentences(Dataset("movie_reviews", "test"), vocabulary, length=64),
            batch_size=64,
            eval_batch_size=256,
        ),
        optimizers={"train": adamw(learning_rate=2e-3, steps=steps, warmup=0.05, weight_decay=0.1, clip_norm=1.0)},
        ema=0.99,
        steps=steps,
        seed=seed,
        log_every=100,
        eval_every=100,
        save_every=100,
        keep=CheckpointPolicy(metric="validation/accuracy"),
    )
