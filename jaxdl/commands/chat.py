"""`launch.py predict RUN --interactive`: a language model answers line by line, and one sees it write."""

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from jaxdl.data.text.special_tokens import END, PAD
from jaxdl.data.text.tokenizers import Tokenizer
from jaxdl.distributed.mesh import batch_shards
from jaxdl.errors import UserError
from jaxdl.runs.restore import Trained, load_trained

PIECE = 8  # tokens that are written at a time
LONGEST = 25  # pieces of an answer
KEPT = 400  # tokens of the conversation that are read before an answer


def run(
    path: str,
    step: int | None = None,
    settings: Sequence[str] = (),
    lines: Iterable[str] | None = None,
    write: Callable[[str], Any] | None = None,
) -> None:
    """Reads lines, and writes an answer to each until there are no more; an empty line begins a new conversation.

    A turn is a line, as in the data set "chit_chat". The model reads the conversation so far and writes piece by piece,
    compiled once for each power of two of its length.

    Args:
      path: the run folder.
      step: the checkpoint; None for the newest.
      settings: NAME=VALUE for paths in the run's configuration, such as `task.temperature=0.5`.
      lines: None for the terminal's.
      write: is given what is written, piece by piece; None for the terminal.

    Raises:
      UserError: not a run that can be read, or not one of a language model.
    """
    trained = load_trained(path, step, [*settings, f"task.new_tokens={PIECE}"])
    tokenizer = trained.names.get("tokens")
    if not isinstance(tokenizer, Tokenizer) or trained.experiment.task.causal is None:
        raise UserError(f"{path} is no language model, so it does not chat; give the run of one, such as of chat.py")
    write = _to_terminal if write is None else write
    said, count = np.zeros(0, np.int32), 0
    for line in _from_terminal() if lines is None else lines:
        if not line.strip():
            said = np.zeros(0, np.int32)
            write("(a new conversation)\n")
            continue
        said = np.concatenate([said, tokenizer.encode(f"{line.strip()}\n")])
        answer: list[int] = []
        text = ""
        for _ in range(LONGEST):
            piece = _piece(trained, np.concatenate([said, np.array(answer, np.int32)])[-KEPT:], count)
            count += 1
            answer += piece.tolist()
            whole = tokenizer.decode(answer).lstrip("\n")
            new, end, _ = whole[len(text) :].partition("\n")
            text += new
            write(new)
            if end or END in answer or PAD in answer:
                break
        write("\n")
        said = np.concatenate([said, tokenizer.encode(f"{text.strip()}\n")])[-KEPT:]


def _piece(trained: Trained, prompt: np.ndarray, count: int) -> np.ndarray:
    """int32 [PIECE] the next tokens; `count` of them have been drawn before, so that these are other draws."""
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
    print("Write a line; an empty one begins a new conversation, Ctrl-D ends.", file=sys.stderr)
    while True:
        try:
            yield input("> ")
        except EOFError:
            return


def _to_terminal(text: str) -> None:
    print(text, end="", flush=True)
