"""TypeScript to JavaScript: Transformer tagger that keeps or drops tokens.

Result: 0.500 test exact match, 1 seed, 9.4 min, 35 TFLOP on AMD EPYC (2 cores)
Run:    python launch.py --config=experiments/transformer/code_ts_to_js.py

Trains on 2,199 declarations of RxJS and four other packages. The test declarations are from other files of RxJS, the
evaluation `unseen` (0.209) is cheerio, a package that is not in training. Where the compiler inserts code, as for
parameter properties, no tagging is correct: 0.81 of the test declarations can be.
"""

from fiddle.experimental.auto_config import auto_config

from experiments.transformer._muon import text_muon
from jaxdl import CheckpointPolicy, Data, Dataset, Experiment
from jaxdl.data.text.edits import Edits
from jaxdl.data.text.packing import Packed
from jaxdl.data.text.tokenizers import BPE, Vocabulary
from jaxdl.metrics.javascript import accepted
from jaxdl.models.bert import Encoder, TokenClassifier
from jaxdl.models.transformer import Stack
from jaxdl.tasks.text_editing import TextEditing

METRIC = "test/exact_match"


@auto_config
def experiment(
    steps: int = 1000,
    tokens: int = 1000,
    length: int = 512,
    dropout: float = 0.1,
    seed: int = 0,
) -> Experiment:
    vocabulary = Vocabulary(BPE(tokens), Dataset("typescript", "train"), features=("source",))
    return Experiment(
        task=TextEditing(
            TokenClassifier(
                Encoder(
                    vocabulary=tokens,
                    length=length,
                    stack=Stack(128, 4, 4, use_bias=False, dropout=dropout),
                    word_dropout=0.1,
                ),
                outputs=2,
                dropout=dropout,
            ),
            accepted=accepted,
        ),
        data=Data(
            train=Packed(Edits(Dataset("typescript", "train"), vocabulary, length), ("label",), dropped=("whole",)),
            evals={
                "validation": Edits(Dataset("typescript", "validation"), vocabulary, length),
                "unseen": Edits(Dataset("typescript", "unseen"), vocabulary, length),
            },
            test=Edits(Dataset("typescript", "test"), vocabulary, length),
            batch_size=8,
            eval_batch_size=16,
        ),
        optimizers={"train": text_muon(steps, weight_decay=0.05)},
        ema=0.98,
        steps=steps,
        seed=seed,
        eval_every=steps,
        save_every=250,
        keep=CheckpointPolicy(metric="validation/loss", mode="min"),
    )
