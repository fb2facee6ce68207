"""Is a snippet of a film review positive or negative? The small BERT that has read Jane Austen, tuned.

Result: none recorded yet
Run:    python launch.py --config=experiments/transformer/sentiment_austen.py

First train experiments/transformer/austen_bert.py with --workdir=runs/austen_bert. From scratch: `--set=start=None`.
MiniLM in its place: experiments/transformer/sentiment.py.
"""

from fiddle.experimental.auto_config import auto_config

from jaxdl.config.experiment import Experiment
from jaxdl.data.dataset import Data, Dataset
from jaxdl.data.text.sentences import Sentences
from jaxdl.data.text.tokenizers import BPE, Vocabulary
from jaxdl.models.bert import Encoder, SequenceClassifier
from jaxdl.models.transformer import Stack
from jaxdl.tasks.sequence_classification import SequenceClassification
from jaxdl.training.checkpoint import CheckpointPolicy, InitFromRun
from jaxdl.training.optimizers import adamw, layer_decay

METRIC = "test/accuracy"


@auto_config
def experiment(
    run: str = "runs/austen_bert",
    train: str = "train",
    steps: int = 500,
    length: int = 64,
    features: int = 192,
    layers: int = 4,
    heads: int = 6,
    dropout: float = 0.2,
    word_dropout: float = 0.1,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    decay: float = 0.8,
    seed: int = 0,
) -> Experiment:
    vocabulary = Vocabulary(BPE(4000), Dataset("austen", "train"))
    return Experiment(
        task=SequenceClassification(
            SequenceClassifier(
                Encoder(
                    vocabulary=4000,
                    length=128,
                    stack=Stack(features, layers, heads, use_bias=False, dropout=dropout),
                    word_dropout=word_dropout,
                ),
                outputs=2,
                pool="mean",
                dropout=dropout,
            ),
            label_smoothing=0.1,
        ),
        data=Data(
            train=Sentences(Dataset("movie_reviews", train), vocabulary, length, strict=False),
            evals={
                "validation": Sentences(Dataset("movie_reviews", "validation"), vocabulary, length=96, strict=False)
            },
            test=Sentences(Dataset("movie_reviews", "test"), vocabulary, length=96, strict=False),
            batch_size=batch_size,
            eval_batch_size=128,
        ),
        optimizers={
            "train": adamw(
                learning_rate=learning_rate,
                steps=steps,
                warmup=0.1,
                weight_decay=0.1,
                clip_norm=1.0,
                scales=layer_decay(decay, layers),
            )
        },
        start=InitFromRun(run=run, groups={"classifier/encoder": "masked_language_model/encoder"}),
        steps=steps,
        seed=seed,
        log_every=20,
        eval_every=steps // 2,
        save_every=steps // 2,
        keep=CheckpointPolicy(metric="validation/accuracy"),
    )


def sweep():
    return [{"seed": seed} for seed in range(3)]
