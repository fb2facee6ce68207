"""Test size of experiments/transformer/llama_7b.py."""

from experiments.transformer.llama_7b import experiment
from jaxdl.data.synthetic.text import MockText
from jaxdl.data.text.tokenizers import Characters, Vocabulary
from jaxdl.data.text.windows import Windows


def tiny():
    config = experiment.as_buildable(steps=40, length=16)
    config.task.model.dtype = "float32"
    config.data.batch_size = 16
    config.optimizers["train"].learning_rate = 0.01
    config.task.model.vocabulary = 88
    config.task.model.features = 16
    config.task.model.hidden = 24
    config.task.model.layers = 2
    config.task.model.heads = 2
    config.task.chunk = 4
    config.task.new_tokens = 4
    vocabulary = Vocabulary(Characters(88), MockText(examples=2, characters=1500))
    config.data.train = Windows(MockText(examples=2, characters=1500), vocabulary, length=16)
    config.data.evals["validation"] = Windows(MockText(characters=300, split="validation"), vocabulary, length=16)
    config.parallel.mesh = {"data": 1, "fsdp": 1, "tensor": 1}
    return config
