"""Settings of a configuration as text, as in config.txt, and their differences."""

import ast
from collections.abc import Iterable, Sequence
from typing import NamedTuple

# Settings of logging, checkpoints and sharding. They do not affect results, so the fingerprint ignores them.
OBSERVES = (
    "parallel",
    "log_every",
    "eval_every",
    "evaluate",
    "save_every",
    "save_minutes",
    "keep",
    "data.threads",
    "data.workers",
    "data.eval_batch_size",
)

_CHOOSES = ("eval_every", "save_every", "keep")  # with select="best" they choose the checkpoint that is scored
_CHOOSES_NOT = ("keep.latest", "keep.best", "keep.period")

ABSENT = "(absent)"
_ROOT, _DEFAULT = "experiment", "  # default"  # name of the root and mark of defaults


def observing(selects: bool = False) -> tuple[str, ...]:
    """Returns the paths that do not affect results; `selects` is whether the experiment has select="best"."""
    return (*(name for name in OBSERVES if name not in _CHOOSES), *_CHOOSES_NOT) if selects else OBSERVES


def observes(path: str, selects: bool = False) -> bool:
    """Returns whether a path or override does not affect results, see `observing`."""
    return any(path == name or path.startswith((f"{name}.", f"{name}[")) for name in observing(selects))


class Setting(NamedTuple):
    """Argument of a configuration.

    Attributes:
      path: Path, for example "optimizers.train.learning_rate.peak_value". "" is the experiment.
      value: Value as text. A call is `name(...)`; its arguments are separate settings.
      default: Whether the value is the default of the function or class.
    """

    path: str
    value: str
    default: bool


def selects(settings: Iterable[Setting]) -> bool:
    """Returns whether the settings of an experiment have select="best"."""
    return any(setting.path == "select" and setting.value == "'best'" for setting in settings)


def to_text(settings: Iterable[Setting]) -> str:
    """Returns lines `path = value` with defaults marked."""
    return "".join(f"{path or _ROOT} = {value}{_DEFAULT if default else ''}\n" for path, value, default in settings)


def from_text(text: str) -> list[Setting]:
    """Parses the output of `to_text`, without the code of the run.

    Raises:
      ValueError: A line without " = ".
    """
    parsed = []
    for line in text.splitlines():
        path, equals, value = line.partition(" = ")
        if not equals:
            raise ValueError(f"'{line[:60]}' is not a setting; expected PATH = VALUE")
        default = value.endswith(_DEFAULT)
        parsed.append(Setting("" if path == _ROOT else path, value.removesuffix(_DEFAULT), default))
    return parsed


def hyperparameters(settings: Iterable[Setting]) -> dict[str, bool | int | float | str]:
    """Returns {path: value} for trackers and TensorBoard: numbers and strings as such, other values as text."""
    return {setting.path: _typed(setting.value) for setting in settings if setting.path}


def _typed(text: str) -> bool | int | float | str:
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return value if isinstance(value, (bool, int, float, str)) else text


def differences(settings_a: Iterable[Setting], settings_b: Iterable[Setting]) -> list[tuple[str, str, str]]:
    """Returns (path, value in a, value in b) of the settings that differ.

    The value of a missing argument is `ABSENT`. An argument that is missing in one and a default in the other is not
    listed.
    """
    a, b = ({setting.path: setting for setting in side} for side in (settings_a, settings_b))
    rows = []
    for path in dict.fromkeys([*a, *b]):
        present = [side[path] for side in (a, b) if path in side]
        if len(present) == 1 and present[0].default:
            continue
        values = tuple(side[path].value if path in side else ABSENT for side in (a, b))
        if values[0] != values[1]:
            rows.append((path, *values))
    return rows


def changes(settings_a: Sequence[Setting], settings_b: Sequence[Setting]) -> list[tuple[str, str, str]]:
    """Returns the `differences` that affect results."""
    either = selects(settings_a) or selects(settings_b)
    return [row for row in differences(settings_a, settings_b) if not observes(row[0], either)]
