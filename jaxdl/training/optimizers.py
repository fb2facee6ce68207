"""What optax lacks for recipes: which parameters weight decay is for, rates and freezing by path, averages of a width.

A path is the parameter's in its group, such as "stage1/block1/conv1/kernel". A pattern is the beginning of a path, cut
at a slash ("stage1"), or a glob, whose * goes over slashes ("*/norm?", "stage[12]"); after it anything may follow.
"""

import difflib
import math
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxdl.errors import UserError

PyTree = Any


def kernels(params: Any) -> Any:
    """A mask tree, True on kernels (two axes and more) and False on biases and norm scales, for `mask=` of optax."""
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


def hidden_kernels(params: Any) -> Any:
    """What of a Transformer's parameters Muon is for, as `optax.contrib.muon(muon_weight_dimension_numbers=...)` asks.

    The kernels of blocks, whose path has a part "block..."; those of scanned blocks have a leading axis. All else,
    vectors of tokens and the layers at both ends among it, is left to Adam (Jordan et al. 2024).
    """

    def numbers(path: tuple, leaf: Any) -> optax.contrib.MuonDimensionNumbers | None:
        names = [str(each.key) for each in path if hasattr(each, "key")]  # without boxes around parameters
        matrix = names[-1] == "kernel" or leaf.ndim > 2  # experts have no module for each kernel
        inside = any(name.startswith("block") for name in names[:-1])
        return optax.contrib.MuonDimensionNumbers(leaf.ndim - 2, leaf.ndim - 1) if inside and matrix else None

    return jax.tree_util.tree_map_with_path(numbers, params)


def clip_by_norm(limit: float) -> optax.GradientTransformation:
    """Shortens the gradient of all parameters together to the norm `limit` (arXiv:1211.5063); 0 leaves it as it is.

    Raises:
      UserError: a negative limit.
    """
    if limit < 0:
        raise UserError(f"clip_by_norm({limit}): must be positive, or 0 for no clipping")
    return optax.clip_by_global_norm(limit) if limit else optax.identity()


def freeze(optimizer: optax.GradientTransformation, paths: tuple[str, ...]) -> optax.GradientTransformation:
    """`optimizer` for all parameters but those that a pattern in `paths` matches, which stay as they are.

    Frozen parameters have no optimizer state; clipping and the like inside `optimizer` do not see them. Their gradients
    are computed still, and count in the reported `grad_norm`. Batch statistics are no parameters: a frozen norm uses
    the batch's statistics in training and updates its running ones; `ResNet(frozen_stages=...)` stops both, and the
    backward pass.

    Raises:
      UserError: on init, a pattern that matches no parameter, or patterns that leave none to train.
    """

    def trained(tree: PyTree) -> PyTree:
        kept = {path: leaf for path, leaf in _flat(tree).items() if not _matched(path, paths)}
        return unflatten_dict(kept, sep="/")

    def init(params: PyTree) -> PyTree:
        _check(paths, _flat(params), "freeze")
        rest = trained(params)
        if not rest:
            raise UserError(f"freeze: {', '.join(paths)} leave no parameter to train; freeze fewer")
        return optimizer.init(rest)

    def update(updates: PyTree, state: PyTree, params: PyTree | None = None) -> tuple[PyTree, PyTree]:
        changed, state = optimizer.update(trained(updates), state, None if params is None else trained(params))
        zeros = {path: jnp.zeros_like(leaf) for path, leaf in _flat(updates).items()}
        return unflatten_dict({**zeros, **_flat(changed)}, sep="/"), state

    return optax.GradientTransformation(init, update)


def scale_by_path(factors: Mapping[str, float]) -> optax.GradientTransformation:
    """Multiplies the updates of the parameters that a pattern matches by its factor (several: by their product).

    After an optimizer in `optax.chain` this is a learning rate by path.

    Raises:
      UserError: on init, a pattern that matches no parameter.
    """

    def init(params: PyTree) -> optax.EmptyState:
        _check(factors, _flat(params), "scale_by_path")
        return optax.EmptyState()

    def update(updates: PyTree, state: PyTree, params: PyTree | None = None) -> tuple[PyTree, PyTree]:
        del params
        flat = _flat(updates)
        scales = {path: math.prod(factors[one] for one in _matched(path, factors)) for path in flat}
        return unflatten_dict({path: leaf * scales[path] for path, leaf in flat.items()}, sep="/"), state

    return optax.GradientTransformation(init, update)


def train_only(optimizer: optax.GradientTransformation, paths: tuple[str, ...]) -> optax.GradientTransformation:
    """`optimizer` for the parameters that a pattern in `paths` matches; all others stay as they are, as in `freeze`.

    With ("*/query_low", "*/value_low", "head") these are LoRA's matrices and a head.

    Raises:
      UserError: on init, a pattern that matches no parameter.
    """

    def others(tree: PyTree) -> tuple[str, ...]:
        return tuple(path for path in _flat(tree) if not _matched(path, paths))

    def init(params: PyTree) -> PyTree:
        _check(paths, _flat(params), "train_only")
        return freeze(optimizer, others(params)).init(params)

    def update(updates: PyTree, state: PyTree, params: PyTree | None = None) -> tuple[PyTree, PyTree]:
        return freeze(optimizer, others(updates)).update(updates, state, params)

    return optax.GradientTransformation(init, update)


def layer_decay(
    rate: float, layers: int, stack: str = "encoder/stack", before: str = "encoder/embed"
) -> optax.GradientTransformation:
    """Smaller updates the deeper a layer lies below the head (Clark et al. 2020, arXiv:2003.10555); after an optimizer.

    Block number i of `layers` is multiplied by rate^(layers - i), what is `before` them by rate^(layers + 1), counting
    from 0; the rest stays.

    Raises:
      UserError: a rate that is not above 0 and at most 1; on init, paths that are not there.
    """
    if not 0.0 < rate <= 1.0:
        raise UserError(f"layer_decay({rate}): must be above 0 and at most 1")
    blocks = {f"{stack}/block_{number}": rate ** (layers - number) for number in range(layers)}
    return scale_by_path({before: rate ** (layers + 1), **blocks})


def power_average(width: float = 0.1) -> Callable[[Any], Any]:
    """Decay of a moving average whose memory grows with the run, for `Experiment.ema` (arXiv:2312.02696).

    After t steps the parameters of step s count in proportion to s^gamma.

    Args:
      width: standard deviation of s under these weights, in units of t; below 0.28.

    Returns:
      step (from 1 on) -> (1 - 1 / step)^(gamma + 1).

    Raises:
      UserError: a width out of range.
    """
    if not 0 < width < 12**-0.5:
        raise UserError(f"power_average({width}): must be above 0 and below 0.28")
    # width^2 = (gamma + 1) / ((gamma + 2)^2 (gamma + 3)); of its three roots the largest.
    gamma = float(max(np.roots([1.0, 7.0, 16.0 - width**-2, 12.0 - width**-2]).real))
    return lambda step: (1.0 - 1.0 / step) ** (gamma + 1.0)


def _flat(tree: PyTree) -> dict[str, Any]:
    """{path: leaf} of nested dictionaries."""
    return flatten_dict(tree, sep="/")  # pyright: ignore[reportReturnType]


def _matched(path: str, patterns: Iterable[str]) -> list[str]:
    """The patterns that match a path."""
    return [one for one in patterns if fnmatchcase(path, one) or fnmatchcase(path, f"{one.rstrip('/')}/*")]


def _check(patterns: Iterable[str], paths: Iterable[str], where: str) -> None:
    """Refuses a pattern that matches none of the paths."""
    paths = list(paths)
    for pattern in patterns:
        if any(_matched(path, (pattern,)) for path in paths):
            continue
        parts = [path.split("/") for path in paths]
        names = sorted({"/".join(part[:length]) for part in parts for length in range(1, len(part) + 1)})
        near = difflib.get_close_matches(pattern, names, n=3, cutoff=0.4)
        hint = f"nearest: {', '.join(near)}; " if near else ""
        tops = ", ".join(sorted({part[0] for part in parts}))
        missed = f"{where}: no parameter's path begins with or matches '{pattern}'"
        raise UserError(f"{missed}; {hint}paths begin with: {tops}")
