"""Base class of tasks that train one model."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from jaxdl.tasks.parts.apply import apply_module, argument_of, batch_coupling, init_module
from jaxdl.training.indexing import indexed_sizes
from jaxdl.training.task import Array, Batch, IdRange, Outcome, Phase, PyTree, Task, module_key


@dataclass(frozen=True, eq=False)
class ModelTask(Task):
    """Base class of tasks that train one model, the group `group`, in one phase, "train".

    Subclasses define `group` and `loss`, besides the methods of `Task`.

    Attributes:
      model: Module with the argument `train`. It may keep batch statistics and draw from "dropout".
    """

    group: ClassVar[str]

    model: Any

    @property
    def phases(self) -> tuple[Phase, ...]:
        return (Phase(name="train", trains=self.group, loss=self.loss),)

    @property
    def batch_statistics(self) -> str:
        return batch_coupling(self.model)

    def loss(self, params: PyTree, variables: PyTree, batch: Batch, key: Array, step: Array, carry: PyTree) -> Outcome:
        """Returns the loss of the phase, see `jaxdl.training.task.Phase`."""
        raise NotImplementedError

    def init_model(self, key: Array, *inputs: Any, **options: Any) -> tuple[dict, dict]:
        """Returns (params {group: tree}, variables {group: collections}) of `model(*inputs, **options)`."""
        return init_module(self.group, self.model, key, *inputs, **options)

    def apply_model(
        self, params: PyTree, variables: PyTree, batch: Batch, key: Array | None, *inputs: Any, **options: Any
    ) -> tuple[Any, PyTree]:
        """Returns `model(*inputs, **options)` and the new variables.

        Args:
          params, variables: By group.
          batch: The batch of the inputs, whose `index` the dropout key of a micro-batch depends on.
          key: Key of dropout in training. None evaluates.
        """
        dropout_key = None if key is None else module_key(key, batch)
        return apply_module(self.group, self.model, params, variables, *inputs, key=dropout_key, **options)

    def collections(self, params: PyTree, variables: PyTree) -> dict[str, PyTree]:
        """Returns the model's parameters and variables as `nn.Module.apply` takes them."""
        return {"params": params[self.group], **variables.get(self.group, {})}

    def valid_ids(self, feature: str, size: int, **options: Any) -> IdRange:
        """Returns the ids of a feature for which the model has `size` outputs; `options` are those of `IdRange`."""
        return IdRange(feature, size, argument_of(self.model, size), **options)

    def embedded_ids(
        self, apply: Callable[..., Any], params: PyTree, variables: PyTree, batch: Batch, *features: str
    ) -> tuple[int, dict[str, int]]:
        """Returns the size of the last axis of the model's outputs, and the number of embeddings of each feature.

        Features that the batch lacks or that the model does not index with are left out.

        Args:
          apply: Function `(params, variables, batch) -> (outputs, ...)` that applies the model.
          params, variables, batch: Shapes and types.
          features: Names of integer features.
        """

        def function(values: Batch, params: PyTree, variables: PyTree, batch: Batch) -> Array:
            return apply(params, variables, {**batch, **values})[0]

        values = {name: batch[name] for name in features if name in batch}
        outputs, sizes = indexed_sizes(function, values, params, variables, batch)
        return outputs.shape[-1], {name: min(found) for name, found in sizes.items() if found}
