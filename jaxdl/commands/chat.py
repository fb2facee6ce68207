"""Interactive chat with a language model on the terminal."""

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from jaxdl.data.text.special_tokens import END, PAD
from jaxdl.data.text.tokenizers import Tokenizer
from jaxdl.distributed.mesh import batch_shards
from jaxdl.errors import UserError
from jaxdl.runs.restore import Trained, load_trained

PIECE = 8  # tokens that are generated at a time
LONGEST = 25  # largest number of pieces of a reply
CONTEXT = 400  # tokens of the conversation in the prompt


def run(
    path: str,
    step: int | None = None,
    settings: Sequence[str] = (),
    lines: Iterable[str] | None = None,
    write: Callable[[str], Any] | None = None,
) -> None:
    """Replies to lines of text; an empty line starts a new conversation.

    A turn is a line, as in the data set "chit_chat". The prompt is the conversation so far, padded to a power of two,
    for each of which the model is compiled once.

    Args:
      path: Run folder.
      step: Checkpoint. None: the one of `Experiment.select`.
      settings: NAME=VALUE for paths in the run's configuration, such as `task.temperature=0.5`.
      lines: Turns of the user. None: those of the terminal.
      write: Function that is called with each piece of a reply. None: prints it.

    Raises:
      UserError: The run cannot be read, or its model is not a language model.
    """
    refusal = f"{path} is not a language model; give the run of one, such as of chat.py"
    try:
        trained = load_trained(path, step, [*settings, f"task.new_tokens={PIECE}"])
    except UserError as error:
        if str(error).startswith("no 'new_tokens' in task "):
            raise UserError(refusal) from None
        raise
    tokenizer = trained.names.get("tokens")
    if not isinstance(tokenizer, Tokenizer) or trained.task.causal is None:
        raise UserError(refusal)
    write = _to_terminal if write is None else write
    history, count = np.zeros(0, np.int32), 0
    for line in _from_terminal() if lines is None else lines:
        if not line.strip():
            history = np.zeros(0, np.int32)
            write("(a new conversation)\n")
            continue
        history = np.concatenate([history, tokenizer.encode(f"{line.strip()}\n")])
        reply: list[int] = []
        text = ""
        for _ in range(LONGEST):
            piece = _piece(trained, np.concatenate([history, np.array(reply, np.int32)])[-CONTEXT:], count)
            count += 1
            reply += piece.tolist()
            whole = tokenizer.decode(reply).lstrip("\n")
            new, end, _ = whole[len(text) :].partition("\n")
            text += new
            write(new)
            if end or END in reply or PAD in reply:
                break
        write("\n")
        history = np.concatenate([history, tokenizer.encode(f"{text.strip()}\n")])[-CONTEXT:]


def _piece(trained: Trained, prompt: np.ndarray, count: int) -> np.ndarray:
    """Samples the next tokens, int32 [PIECE]; `count` pieces were drawn before, so that the draws differ."""
    rows, length = batch_shards(trained.program.mesh), 1 << (len(prompt) - 1).bit_length()
    batch: dict[str, Any] = {
        name: np.zeros((rows, *shape), dtype) for name, (shape, dtype) in trained.record["batch"].items()
    }
    batch["tokens"] = np.tile(np.pad(prompt, (0, length - len(prompt)), constant_values=PAD), (rows, 1))
    batch["tokens_length"] = np.full(rows, len(prompt), np.int32)
    batch["index"] = np.arange(count, count + rows, dtype=np.int32)
    batch["weight"] = np.ones(rows, np.float32)
    return np.asarray(trained.program.predict(trained.state, batch)["continuation"][0])


def _from_terminal() -> Iterable[str]:
    print("Write a line. An empty line starts a new conversation, Ctrl-D ends.", file=sys.stderr)
    while True:
        try:
            yield input("> ")
        except EOFError:
            return


def _to_terminal(text: str) -> None:
    print(text, end="", flush=True)
