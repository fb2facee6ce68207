"""Character-level language model on Jane Austen: LSTM with truncated BPTT.

Result: 1.093 test nats per character, 1 seed, 7.4 min, 53 TFLOP on AMD EPYC (2 cores)
Run:    python launch.py --config=experiments/rnn/austen_chars.py

The embeddings of the last two and three characters are inputs, too. The state is carried from batch to batch.
`--set=task.model.cell=GRU` or `MinGRU`, which is trained in parallel over time, replaces the LSTM.
"""

from fiddle.experimental.auto_config import auto_config

from jaxdl import CheckpointPolicy, Data, Dataset, Experiment
from jaxdl.data.text.tokenizers import Characters, Vocabulary
from jaxdl.data.text.windows import Windows
from jaxdl.models.rnn import LSTM
from jaxdl.models.sequence import LanguageModel
from jaxdl.tasks.language_modelling import LanguageModelling
from jaxdl.training.optimizers import adam

METRIC = "test/nats_per_character"


@auto_config
def experiment(steps: int = 4000, seed: int = 0) -> Experiment:
    vocabulary = Vocabulary(Characters(88), Dataset("austen", "train"))
    return Experiment(
        task=LanguageModelling(LanguageModel(vocabulary=88, features=384, embedding=64, cell=LSTM, ngrams=3)),
        data=Data(
            train=Windows(Dataset("austen", "train"), vocabulary, 48),
            evals={"validation": Windows(Dataset("austen", "validation"), vocabulary, length=256, context=128)},
            # The pound sign occurs in the test split only.
            test=Windows(Dataset("austen", "test"), vocabulary, length=256, context=128, strict=False),
            batch_size=64,
            order="streams",
        ),
        optimizers={"train": adam(learning_rate=1.2e-2, steps=steps, warmup=0.05, clip_norm=1.0)},
        steps=steps,
        seed=seed,
        log_every=100,
        eval_every=1000,
        save_every=1000,
        keep=CheckpointPolicy(metric="validation/nats_per_character", mode="min"),
    )
