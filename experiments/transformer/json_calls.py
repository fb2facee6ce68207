"""Function calling: commands to JSON calls of ten functions, Transformer with copying, decoding within a grammar.

Result: 0.750 test call match, 1 seed, 7.4 min, 23 TFLOP on AMD EPYC (2 cores)
Run:    python launch.py --config=experiments/transformer/json_calls.py

Neither the templates of the test commands nor their cities, names, labels and messages occur in training. Without
the grammar (`eval RUN --set=task.constrained=False`) 97.4% of the test calls are valid and 0.746 match. A valid call
may be wrong: commands that ask for no function get a call, too, and long unknown values are misspelled.
Commands are in lower case; for "Lagos" the city is "functionagos". "9 pm", without minutes, becomes 17:30.
"""

from fiddle.experimental.auto_config import auto_config

from experiments._pairs import truncated_pairs
from experiments.transformer._muon import text_muon
from jaxdl import CheckpointPolicy, Data, Dataset, Experiment
from jaxdl.data.text.packing import Packed
from jaxdl.data.text.tokenizers import BPE, Vocabulary
from jaxdl.decoding.grammar import Grammar, json_calls
from jaxdl.models.t5 import EncoderDecoder
from jaxdl.models.transformer import Stack
from jaxdl.tasks.function_calling import FunctionCalling

METRIC = "test/call_match"

# Regular expressions of JSON values.
TEXT = '"[a-z]+( [a-z]+)*"'
TIME = r'"([01]\d|2[0-3]):[0-5]\d"'
DAY = '"(today|tomorrow|(mon|tues|wednes|thurs|fri|satur|sun)day)"'
NUMBER = r"[1-9]\d{0,2}"

FUNCTIONS = {
    "set_alarm": {"time": TIME, "day?": DAY, "label?": TEXT},
    "set_timer": {"minutes": NUMBER, "label?": TEXT},
    "get_weather": {"city": TEXT, "day?": DAY},
    "send_message": {"name": TEXT, "text": TEXT},
    "add_event": {"label": TEXT, "day": DAY, "time": TIME},
    "convert": {"amount": NUMBER, "from": TEXT, "to": TEXT},
    "set_light": {"room": TEXT, "state?": '"(on|off)"', "level?": NUMBER},
    "book_table": {"people": NUMBER, "city": TEXT, "day": DAY, "time": TIME},
    "find_train": {"from": TEXT, "to": TEXT, "day?": DAY},
    "call": {"name": TEXT},
}


@auto_config
def experiment(
    dataset: str = "commands", steps: int = 800, features: int = 128, tokens: int = 100, seed: int = 0
) -> Experiment:
    # A small vocabulary merges the names of the schema, but spells values, so that unknown ones can be copied.
    vocabulary = Vocabulary(BPE(tokens), Dataset(dataset, "train"), features=("source", "target"))
    return Experiment(
        task=FunctionCalling(
            EncoderDecoder(
                vocabulary=tokens,
                length=96,
                encoder=Stack(features, 2, 4, use_bias=False),
                decoder=Stack(features, 2, 4, use_bias=False, causal=True, cross=True),
                copies=True,
            ),
            grammar=Grammar(json_calls(FUNCTIONS), vocabulary),
            max_length=64,
        ),
        data=Data(
            train=Packed(truncated_pairs(dataset, "train", vocabulary, 96, 96)),
            evals={"validation": truncated_pairs(dataset, "validation", vocabulary, 80, 64)},
            test=truncated_pairs(dataset, "test", vocabulary, 80, 64),
            batch_size=40,
            eval_batch_size=100,
        ),
        optimizers={"train": text_muon(steps)},
        steps=steps,
        seed=seed,
        log_every=50,
        eval_every=400,
        save_every=400,
        keep=CheckpointPolicy(metric="validation/call_match"),
    )
