"""Learning rates, and norms of parameters and gradients by module, for the rows of metrics.jsonl.

They only observe the run: a separate compiled function reads the state after the steps that are reported.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl.training.optimizers import Scheduled
from jaxdl.training.state import TrainState, leaf_names
from jaxdl.training.step import squared_norms
from jaxdl.training.task import Task

PyTree = Any

MODULES = 24  # most modules of a group whose norms are reported, which bounds the length of a row


class Modules(NamedTuple):
    """Division of the leaves of a tree into modules.

    Attributes:
      names: Path of each module, such as "stage1/conv1".
      numbers: [leaves], number of the module of each leaf, in the order of `leaf_names`.
    """

    names: list[str]
    numbers: np.ndarray


def modules_of(tree: PyTree) -> Modules:
    """Divides a group of parameters into modules, at the deepest level that has at most `MODULES` of them."""
    paths = [name.split("/") for name in leaf_names(tree)]
    deepest = max(map(len, paths), default=1)
    cuts = [["/".join(path[: max(1, min(depth, len(path) - 1))]) for path in paths] for depth in range(1, deepest + 1)]
    chosen = next((cut for cut in reversed(cuts) if len(set(cut)) <= MODULES), cuts[0] if cuts else [])
    names = list(dict.fromkeys(chosen))
    return Modules(names, np.array([names.index(name) for name in chosen], np.int64))


class Diagnostics:
    """Function from a train state to its learning rates and norms, and the names of its values.

    Attributes:
      names: Names of the values: `learning_rate` of each phase, as applied in its last update, and `param_norm/MODULE`.
        Those of several phases or groups begin with the phase, or have the group before the module.
      modules: {phase: modules of the group that it trains}.
      members: Number of members of an ensemble, else 1.
    """

    def __init__(
        self,
        task: Task,
        optimizers: Mapping[str, optax.GradientTransformation],
        abstract: TrainState,
        ensemble: int | None,
    ):
        """
        Args:
          task: Task of the run.
          optimizers: Optimizer of each phase.
          abstract: Train state as shapes.
          ensemble: Members of the ensemble. None: no ensemble.
        """
        self.members = ensemble or 1
        self._ensemble = ensemble is not None
        groups = {group: modules_of(tree) for group, tree in abstract.params.items()}
        self.modules = {phase.name: groups[phase.trains] for phase in task.phases}
        self._numbers = {group: modules.numbers for group, modules in groups.items()}
        rates = {phase.name: _reader(optimizers[phase.name], abstract.opt_state[phase.name]) for phase in task.phases}
        self._rates = {phase: read for phase, read in rates.items() if read is not None}
        several = len(rates) > 1
        self.names = [f"{phase}/learning_rate" if several else "learning_rate" for phase in self._rates]
        for group, modules in groups.items():
            inside = f"{group}/" if len(groups) > 1 else ""
            self.names += [f"param_norm/{inside}{name}" for name in modules.names]

    def gradient_norms(self, phase: str, squares: Any) -> dict[str, float]:
        """Returns `grad_norm/MODULE` from the squared gradient norms of a phase's leaves, `Report.squares`."""
        names, numbers = self.modules[phase]
        norms = np.sqrt(np.bincount(numbers, squares, len(names)) / self.members)
        return {f"grad_norm/{name}": norm for name, norm in zip(names, norms.tolist())}

    def values(self, values: Any) -> dict[str, float]:
        """Returns the fetched values by name."""
        return dict(zip(self.names, values.tolist()))

    def __call__(self, params: Mapping[str, PyTree], opt_state: Mapping[str, PyTree]) -> jax.Array:
        """Returns the values, float32 [names]; norms of an ensemble are root mean squares over its members."""
        if self._ensemble:
            opt_state = jax.tree.map(lambda leaf: leaf[0], opt_state)
        rates = [jnp.asarray(read(opt_state[phase]), jnp.float32) for phase, read in self._rates.items()]
        squares = [
            jax.ops.segment_sum(squared_norms(params[group]), numbers, int(numbers.max(initial=-1)) + 1)
            for group, numbers in self._numbers.items()
        ]
        norms = [jnp.sqrt(values / self.members) for values in squares]
        return jnp.concatenate([jnp.stack(rates) if rates else jnp.zeros(0), *norms])


def _reader(optimizer: optax.GradientTransformation, opt_state: PyTree) -> Callable[[PyTree], Any] | None:
    """Returns the function from an optimizer's state to the learning rate of its last update; None if it is unknown.

    It is known for the factories of `jaxdl.training.optimizers` and for `optax.inject_hyperparams`.
    """
    if isinstance(optimizer, Scheduled):
        rate = optimizer.learning_rate
        if not callable(rate):
            return lambda state: rate
        # The schedule of update n, counted from 0, is evaluated at n.
        return lambda state: rate(jnp.maximum(_states(state, optax.ScaleByScheduleState)[0].count - 1, 0))
    injected = _states(opt_state, (optax.InjectStatefulHyperparamsState, optax.InjectHyperparamsState))
    if injected and "learning_rate" in injected[0].hyperparams:
        kinds = type(injected[0])
        return lambda state: _states(state, kinds)[0].hyperparams["learning_rate"]
    return None


def _states(opt_state: PyTree, kinds: Any) -> Sequence[Any]:
    """Returns the parts of an optimizer's state that are of a type."""
    leaves = jax.tree.leaves(opt_state, is_leaf=lambda node: isinstance(node, kinds))
    return [node for node in leaves if isinstance(node, kinds)]
