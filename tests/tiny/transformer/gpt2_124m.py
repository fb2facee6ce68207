"""Test size of experiments/transformer/gpt2_124m.py."""

from experiments.transformer.gpt2_124m import experiment
from jaxdl.data.synthetic.text import MockText
from jaxdl.data.text.tokenizers import Characters, Vocabulary
from jaxdl.data.text.windows import Windows


def tiny():
    config = experiment.as_buildable(steps=40, length=16)
    config.task.model.dtype = "float32"
    config.data.batch_size = 16
    config.optimizers["train"].learning_rate = 0.01
    config.accumulate = 1
    config.task.model.vocabulary = 88
    config.task.model.features = 16
    config.task.model.layers = 2
    config.task.model.heads = 2
    config.task.chunk = 4
    config.task.new_tokens = 4
    vocabulary = Vocabulary(Characters(88), MockText(examples=2, characters=1500))
    config.data.train = Windows(MockText(examples=2, characters=1500), vocabulary, length=16)
    config.data.evals["validation"] = Windows(MockText(characters=300, split="validation"), vocabulary, length=16)
    config.data.eval_batch_size = None
    return config
