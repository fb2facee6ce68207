"""Chat with a language model: prompts, ends of answers, unsupported models."""

from types import SimpleNamespace

import fiddle as fdl
import jax
import numpy as np
import pytest

from jaxdl.commands import chat
from jaxdl.config.experiment import Experiment
from jaxdl.config.overrides import resolve
from jaxdl.data.text.tokenizers import Characters
from jaxdl.errors import UserError
from jaxdl.tasks.image_classification import ImageClassification

TOKENIZER = Characters(40).train(["abcdefghijklmnopqrstuvwxyz .?\n"])


class Echo:
    """Model that repeats the last line of its prompt twice, followed by a line break.

    Attributes:
      read: Prompts and indices of all calls.
    """

    def __init__(self):
        self.mesh = jax.make_mesh((1, 1, 1), ("data", "fsdp", "tensor"))
        self.read: list[tuple[str, int]] = []

    def predict(self, state, batch):
        del state
        prompt = TOKENIZER.decode(batch["tokens"][0][: batch["tokens_length"][0]])
        self.read.append((prompt, int(batch["index"][0])))
        *lines, begun = prompt.split("\n")
        question = [line for line in lines if line][-1]
        continuation = f"{question} {question}\nafter the end"[len(begun) :]
        ids = TOKENIZER.encode(continuation)[: chat.PIECE]
        return {"continuation": np.pad(ids, (0, chat.PIECE - len(ids)))[None]}


@pytest.fixture
def model(monkeypatch):
    program = Echo()
    trained = SimpleNamespace(
        names={"tokens": TOKENIZER},
        task=SimpleNamespace(causal=lambda *_: None),
        program=program,
        state=None,
        record={"batch": {"tokens": ((9,), np.int32), "index": ((), np.int32), "weight": ((), np.float32)}},
    )
    loads = []
    monkeypatch.setattr(chat, "load_trained", lambda *arguments: loads.append(arguments) or trained)
    return SimpleNamespace(program=program, trained=trained, loads=loads)


def test_an_answer_is_streamed_up_to_its_line_break(model):
    pieces = []
    chat.run("run", 7, ["task.temperature=0"], ["how are you?"], pieces.append)
    assert "".join(pieces) == "how are you? how are you?\n"
    assert len(pieces) > 3
    assert model.loads == [("run", 7, ["task.temperature=0", f"task.new_tokens={chat.PIECE}"])]
    assert [number for _, number in model.program.read] == list(range(len(model.program.read)))


def test_the_conversation_ends_at_an_empty_line(model):
    chat.run("run", lines=["hello", "well", "", "again"], write=lambda text: None)
    prompts = [prompt for prompt, _ in model.program.read]
    assert "hello\nhello hello\nwell\n" in prompts
    assert prompts[-1].startswith("again\n")
    assert all("after the end" not in prompt for prompt in prompts)


def test_other_models_are_refused(model):
    model.trained.task.causal = None
    with pytest.raises(UserError, match="run is not a language model"):
        chat.run("run", lines=[])


def test_a_task_without_new_tokens_is_refused(monkeypatch):
    def load(path, step, settings):
        del path, step
        return resolve(fdl.Config(Experiment, task=fdl.Config(ImageClassification)), settings)

    monkeypatch.setattr(chat, "load_trained", load)
    with pytest.raises(UserError, match="run is not a language model"):
        chat.run("run", lines=[])
    with pytest.raises(UserError, match="no 'beam' in task"):
        chat.run("run", settings=["task.beam=2"], lines=[])
