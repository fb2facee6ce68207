"""Sentiment of film-review snippets: BERT pretrained on Jane Austen, fine-tuned.

Result: none recorded yet
Run:    python launch.py --config=experiments/transformer/sentiment_austen.py

--with_requirements trains the pretrained model, transformer/austen_bert, first.
From scratch: `--set=start=None`. With MiniLM: transformer/sentiment.
"""

from fiddle.experimental.auto_config import auto_config

from jaxdl import CheckpointPolicy, Data, Dataset, Experiment, InitFromRun
from jaxdl.data.text.sentences import Sentences
from jaxdl.data.text.tokenizers import BPE, Vocabulary
from jaxdl.models.bert import Encoder, SequenceClassifier
from jaxdl.models.transformer import Stack
from jaxdl.tasks.sequence_classification import SequenceClassification
from jaxdl.training.optimizers import adamw, layer_decay

METRIC = "test/accuracy"
REQUIRES = {"start.run": "experiments/transformer/austen_bert.py"}


@auto_config
def reviews(split: str, vocabulary: Vocabulary, length: int) -> Sentences:
    """Returns review snippets truncated to `length` tokens; characters outside the vocabulary are <unknown>."""
    return Sentences(Dataset("movie_reviews", split), vocabulary, length, strict=False)


@auto_config
def experiment(
    run: str = "runs/austen_bert",
    steps: int = 500,
    layers: int = 4,
    dropout: float = 0.2,
    seed: int = 0,
) -> Experiment:
    vocabulary = Vocabulary(BPE(4000), Dataset("austen", "train"))
    return Experiment(
        task=SequenceClassification(
            SequenceClassifier(
                Encoder(
                    vocabulary=4000,
                    length=128,
                    stack=Stack(192, layers, 6, use_bias=False, dropout=dropout),
                    word_dropout=0.1,
                ),
                outputs=2,
                pool="mean",
                dropout=dropout,
            ),
            label_smoothing=0.1,
        ),
        data=Data(
            train=reviews("train", vocabulary, 64),
            evals={"validation": reviews("validation", vocabulary, 96)},
            test=reviews("test", vocabulary, 96),
            batch_size=64,
            eval_batch_size=128,
        ),
        optimizers={
            "train": adamw(
                learning_rate=1e-3,
                steps=steps,
                warmup=0.1,
                weight_decay=0.1,
                clip_norm=1.0,
                scales=layer_decay(0.8, layers),
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
