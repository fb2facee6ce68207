"""Base class of tasks that train one model."""

from dataclasses import dataclass
from typing import Any, ClassVar

from jaxdl.tasks.parts.apply import apply_module, batch_coupling, init_module
from jaxdl.training.task import Array, Batch, Outcome, Phase, PyTree, Task, module_key


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
    def batch_coupled(self) -> str:
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
