"""Checks of the arguments of tasks and of the features of batches."""

from collections.abc import Iterable
from typing import Any

from jaxdl.errors import UserError, nearest
from jaxdl.training.task import Batch


def check_ranges(owner: Any, **intervals: str) -> None:
    """Raises a UserError for an attribute outside its interval, such as "[0, 1)"; None is accepted, NaN is not."""
    for name, interval in intervals.items():
        value = getattr(owner, name)
        low, high = (float(end) for end in interval[1:-1].split(","))
        above = value is None or (low < value if interval[0] == "(" else low <= value)
        below = value is None or (value < high if interval[-1] == ")" else value <= high)
        if not (above and below):
            bound = "positive" if interval[:3] == "(0," else f"at least {low:g}"
            words = f"{bound} and finite" if interval.endswith("inf)") else f"in {interval}"
            raise UserError(f"{name}={value} must be {words}")


def check_choices(owner: Any, **choices: Iterable[Any]) -> None:
    """Raises a UserError for an attribute that is not one of its choices; the message names the nearest one."""
    for name, known in choices.items():
        value, known = getattr(owner, name), tuple(known)
        if value not in known:
            names = [choice for choice in known if isinstance(choice, str)]
            raise UserError(f"{name}={value!r}: {nearest(str(value), names)}{', or None' if None in known else ''}")


def check_class_names(owner: Any) -> None:
    """Raises a UserError if the attribute `names` is neither empty nor of length `num_classes`."""
    if owner.names and len(owner.names) != owner.num_classes:
        raise UserError(f"names has {len(owner.names)} class names, but num_classes={owner.num_classes}")


def require_features(batch: Batch, *names: str, source: str = "") -> None:
    """Raises a UserError for a feature that the batch lacks; `source` is a data source that yields it."""
    for name in names:
        if name not in batch:
            hint = f"; use a source such as {source}" if source else ""
            raise UserError(f"the task needs '{name}' in the batch, which has {', '.join(sorted(batch))}{hint}")
