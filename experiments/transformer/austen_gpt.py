"""Character-level language model on Jane Austen: GPT with n-gram embeddings.

Result: 1.056 test nats per character, 1 seed, 7.5 min on Intel(R) Xeon(R) Processor (2 cores)
Run:    python launch.py --config=experiments/transformer/austen_gpt.py

Hashed embeddings of the last two and three characters are added to each token's (without them:
`--set=task.model.ngrams=()`). Attention is limited to the training length, beyond which rotary positions do not
extrapolate.
"""

from fiddle.experimental.auto_config import auto_config

from experiments.transformer._muon import text_muon
from jaxdl import CheckpointPolicy, Data, Dataset, Experiment
from jaxdl.data.text.tokenizers import Characters, Vocabulary
from jaxdl.data.text.windows import Windows
from jaxdl.models.gpt import Decoder
from jaxdl.models.transformer import Stack
from jaxdl.tasks.language_modelling import LanguageModelling

METRIC = "test/nats_per_character"


@auto_config
def experiment(steps: int = 1850, length: int = 128, seed: int = 0) -> Experiment:
    vocabulary = Vocabulary(Characters(88), Dataset("austen", "train"))
    return Experiment(
        task=LanguageModelling(
            Decoder(
                vocabulary=88,
                length=2 * length,
                stack=Stack(128, 4, 4, causal=True, use_bias=False, norm="rms", window=length),
                ngrams=(2, 3),
                slots=16_384,
            ),
            carried=False,
        ),
        data=Data(
            train=Windows(Dataset("austen", "train"), vocabulary, length),
            evals={
                "validation": Windows(Dataset("austen", "validation"), vocabulary, length // 2, context=length // 2)
            },
            # The pound sign occurs in the test split only.
            test=Windows(Dataset("austen", "test"), vocabulary, length // 2, context=length // 2, strict=False),
            batch_size=24,
            eval_batch_size=64,
        ),
        optimizers={"train": text_muon(steps)},
        steps=steps,
        seed=seed,
        log_every=100,
        eval_every=steps,
        save_every=600,
        keep=CheckpointPolicy(metric="validation/nats_per_character", mode="min"),
    )
