"""Sentiment of film-review snippets: fine-tuned MiniLM.

Result: 0.879 test accuracy, 1 seed, 8.7 min on Intel(R) Xeon(R) Processor (2 cores)
Run:    python launch.py --config=experiments/transformer/sentiment.py

With a tenth of the labels, class-balanced: `--set=data.train.corpus.split='train[:5%]+train[60%:65%]'
--set=steps=150`. From scratch: `--set=start=None --set=optimizers.train.learning_rate=1e-3`.
"""

from fiddle.experimental.auto_config import auto_config

from jaxdl import CheckpointPolicy, Data, Dataset, Experiment
from jaxdl.data.text.sentences import Sentences
from jaxdl.data.text.tokenizers import Pretrained, Vocabulary
from jaxdl.interop.huggingface.transformers import TransformerWeights
from jaxdl.models.bert import SequenceClassifier, bert
from jaxdl.tasks.sequence_classification import SequenceClassification
from jaxdl.training.optimizers import adamw

METRIC = "test/accuracy"


@auto_config
def reviews(split: str, vocabulary: Vocabulary, length: int) -> Sentences:
    """Returns review snippets truncated to `length` tokens, between [CLS] and [SEP]."""
    return Sentences(Dataset("movie_reviews", split), vocabulary, length, add_special_tokens=True)


@auto_config
def experiment(weights: str = "minilm", steps: int = 500, dropout: float = 0.1, seed: int = 0) -> Experiment:
    vocabulary = Vocabulary(Pretrained(weights), Dataset("movie_reviews", "train"))
    return Experiment(
        task=SequenceClassification(
            SequenceClassifier(
                bert(features=384, layers=6, heads=12, dropout=dropout), outputs=2, pool="mean", dropout=dropout
            ),
            label_smoothing=0.1,
        ),
        data=Data(
            train=reviews("train", vocabulary, 48),
            evals={"validation": reviews("validation", vocabulary, 64)},
            test=reviews("test", vocabulary, 64),
            batch_size=32,
            eval_batch_size=128,
        ),
        optimizers={"train": adamw(learning_rate=1e-4, steps=steps, warmup=0.1, weight_decay=0.01, clip_norm=1.0)},
        start=TransformerWeights(weights, "classifier", "encoder"),
        steps=steps,
        seed=seed,
        log_every=20,
        eval_every=steps // 2,
        save_every=steps // 2,
        keep=CheckpointPolicy(metric="validation/accuracy"),
    )
