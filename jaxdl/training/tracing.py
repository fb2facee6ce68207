"""Errors and batch statistics of models, found while a function is traced."""

import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import flax.errors
import flax.linen as nn

from jaxdl.errors import UserError

_PACKAGE = Path(__file__).parents[1]
_LONGEST = 300  # characters of another library's message


@contextmanager
def shape_errors(what: str) -> Iterator[None]:
    """Turns a TypeError, ValueError, LookupError or Flax error of jaxdl's models into a UserError of one line.

    Exceptions that passed through a user's code are not changed; the command reports them with file and line.

    Args:
      what: Subject of the message, such as "the evaluation".
    """
    try:
        yield
    except (TypeError, ValueError, LookupError, flax.errors.FlaxError) as error:
        if any(_is_foreign(Path(frame.filename)) for frame in traceback.extract_tb(error.__traceback__)):
            raise
        text = next((line for line in str(error).splitlines() if line.strip()), "")
        text = re.sub(r"\s*\(https?://\S+\)", "", text)[:_LONGEST]
        raise UserError(
            f"{what} cannot be computed: {type(error).__name__}: {text}; --debug shows the traceback"
        ) from error


def _is_foreign(path: Path) -> bool:
    """Returns whether a file belongs to neither jaxdl nor an installed package."""
    return path.is_file() and not path.is_relative_to(_PACKAGE) and not {"site-packages", "lib"} & set(path.parts)


@contextmanager
def batch_norms() -> Iterator[dict[str, str | None]]:
    """Yields {path: axis_name}, to which every `nn.BatchNorm` is added that is traced with its batch's statistics."""
    found: dict[str, str | None] = {}

    def intercept(call: Callable[..., Any], args: tuple, options: dict, context: Any) -> Any:
        module = context.module
        if isinstance(module, nn.BatchNorm) and context.method_name == "__call__":
            running = options.get("use_running_average", args[1] if len(args) > 1 else None)
            if not (module.use_running_average if running is None else running):
                found["/".join(module.path)] = module.axis_name
        return call(*args, **options)

    with nn.intercept_methods(intercept):
        yield found
