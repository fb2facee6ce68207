"""Named-entity recognition in tweets (ten types, 1,714 sentences): fine-tuned MiniLM.

Result: 0.567 test f1, 1 seed, 26.4 min, 54 TFLOP on AMD EPYC (2 cores)
Run:    python launch.py --config=experiments/transformer/entities.py

MiniLM is uncased; an embedding of letter cases is added. Predictions are valid BIO sequences.
From scratch: `--set=start=None`.
"""

from fiddle.experimental.auto_config import auto_config

from jaxdl import CheckpointPolicy, Data, Dataset, Experiment
from jaxdl.data.text.tagging import Tagged
from jaxdl.data.text.tokenizers import Pretrained, Vocabulary
from jaxdl.interop.huggingface.transformers import TransformerWeights
from jaxdl.models.bert import TokenClassifier, bert
from jaxdl.tasks.token_classification import TokenClassification
from jaxdl.training.optimizers import adamw

METRIC = "test/f1"
TYPES = ("company", "facility", "geo-loc", "movie", "musicartist", "other", "person", "product", "sportsteam", "tvshow")
TAGS = (*(f"B-{kind}" for kind in TYPES), *(f"I-{kind}" for kind in TYPES), "O")


@auto_config
def tweets(split: str, weights: str, length: int) -> Tagged:
    """Returns tagged sentences with the letter case of each word."""
    train = Dataset("tweets_entities", "train")
    return Tagged(Dataset("tweets_entities", split), Vocabulary(Pretrained(weights), train), train, length, case=True)


@auto_config
def experiment(
    weights: str = "minilm",
    steps: int = 400,
    length: int = 64,
    dropout: float = 0.1,
    seed: int = 0,
) -> Experiment:
    return Experiment(
        task=TokenClassification(
            # The size of MiniLM; 21 tags, 4 letter cases.
            TokenClassifier(
                bert(features=384, layers=6, heads=12, dropout=dropout, cases=4), outputs=21, dropout=dropout
            ),
            tags=TAGS,
        ),
        data=Data(
            train=tweets("train", weights, length),
            evals={"validation": tweets("validation", weights, length)},
            test=tweets("test", weights, length),
            batch_size=32,
        ),
        optimizers={"train": adamw(learning_rate=3e-4, steps=steps, warmup=0.1, weight_decay=0.01, clip_norm=1.0)},
        start=TransformerWeights(weights, "tagger", "encoder"),
        steps=steps,
        seed=seed,
        log_every=20,
        eval_every=100,
        save_every=100,
        keep=CheckpointPolicy(metric="validation/f1"),
    )
