"""Talking to a language model: what it reads, where an answer ends, and what is no language model."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest

from jaxdl.commands import chat
from jaxdl.data.text.tokenizers import Characters
from jaxdl.errors import UserError

TOKENIZER = Characters(40).train(["abcdefghijklmnopqrstuvwxyz .?\n"])


class Echo:
    """Writes the last line that it read twice, and a line break; remembers what it was given."""

    def __init__(self):
        self.mesh = jax.make_mesh((1, 1, 1), ("data", "fsdp", "tensor"))
        self.read: list[tuple[str, int]] = []

    def predict(self, state, batch):
        del state
        prompt = TOKENIZER.decode(batch["tokens"][0][: batch["tokens_length"][0]])
        self.read.append((prompt, int(batch["index"][0])))
        *lines, begun = prompt.split("\n")
        asked = [line for line in lines if line][-1]
        rest = f"{asked} {asked}\nwhat nobody sees"[len(begun) :]
        ids = TOKENIZER.encode(rest)[: chat.PIECE]
        return {"continuation": np.pad(ids, (0, chat.PIECE - len(ids)))[None]}


@pytest.fixture
def model(monkeypatch):
    program = Echo()
    trained = SimpleNamespace(
        names={"tokens": TOKENIZER},
        experiment=SimpleNamespace(task=SimpleNamespace(causal=lambda *_: None)),
        program=program,
        state=None,
        record={"batch": {"tokens": ((9,), np.int32), "index": ((), np.int32), "weight": ((), np.float32)}},
    )
    asked = []
    monkeypatch.setattr(chat, "load_trained", lambda *arguments: asked.append(arguments) or trained)
    return SimpleNamespace(program=program, trained=trained, asked=asked)


def test_an_answer_is_written_piece_by_piece_up_to_its_line_break(model):
    written = []
    chat.run("run", 7, ["task.temperature=0"], ["how are you?"], written.append)
    assert "".join(written) == "how are you? how are you?\n"
    assert len(written) > 3
    assert model.asked == [("run", 7, ["task.temperature=0", f"task.new_tokens={chat.PIECE}"])]
    assert [number for _, number in model.program.read] == list(range(len(model.program.read)))


def test_the_conversation_is_read_until_an_empty_line(model):
    chat.run("run", lines=["hello", "well", "", "again"], write=lambda text: None)
    prompts = [prompt for prompt, _ in model.program.read]
    assert "hello\nhello hello\nwell\n" in prompts
    assert prompts[-1].startswith("again\n")
    assert all("nobody" not in prompt for prompt in prompts)


def test_what_is_no_language_model_is_refused(model):
    model.trained.experiment.task.causal = None
    with pytest.raises(UserError, match="run is not a language model"):
        chat.run("run", lines=[])
