"""Vocabulary of training: Term, Outcome, Phase, Evaluation, Task.

A task defines what a model learns. It contains no data, does no I/O and does not depend on devices. The step in
`jaxdl.training.step` compiles any task to one update.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax

from jaxdl.viz.presentation import Presentation

Array = jax.Array
PyTree = Any
Batch = Mapping[str, Any]  # feature -> array [batch, ...]
Names = Mapping[str, Sequence[str]]  # feature -> class names, or a tokenizer


class Term(NamedTuple):
    """One summand of a loss, `coefficient * sum / weight`, over the GLOBAL batch.

    `sum` is never a mean: sums and weights add up over devices and micro-batches, means do not.

    Attributes:
      sum: [], loss summed over tokens, boxes or examples.
      weight: [], number of summands, the denominator of the term.
      coefficient: Factor of the term in the loss.
    """

    sum: Array
    weight: Array
    coefficient: float | Array = 1.0


class Outcome(NamedTuple):
    """Result of a phase's loss function.

    Attributes:
      terms: Terms by name, differentiated as sum_i coefficient_i * sum_i / weight_i.
      variables: New batch statistics and the like, the same on every device.
      metrics: (sum, weight) pairs, reported without gradient.
      carry: Per-example state for the next step, leading axis = batch.
    """

    terms: Mapping[str, Term]
    variables: PyTree
    metrics: Mapping[str, tuple[Array, Array]] = {}
    carry: PyTree = {}


@dataclass(frozen=True)
class Phase:
    """One update of one group of parameters.

    Attributes:
      name: Key of the phase's optimizer in `Experiment.optimizers`, and prefix of its metrics.
      trains: Group of parameters that the phase updates. All other groups are constants.
      loss: `(params, variables, batch, key, step, carry) -> Outcome`. `step` is an int32 scalar. `carry` is the
        per-example state of the previous step, {} for tasks without one.
      every: The phase runs at steps that are a multiple of it.
    """

    name: str
    trains: str
    loss: Callable[..., Outcome]
    every: int = 1


class Evaluation(NamedTuple):
    """Result of a task's `evaluate` for one batch.

    Attributes:
      metrics: (sum, weight) pairs that add up over batches. A sum may be an array (a confusion matrix).
      records: per-example outputs, leading axis = batch, gathered by the batch's `index` for `Task.score`.
    """

    metrics: Mapping[str, tuple[Array, Array]]
    records: Mapping[str, Array] = {}


class IdRange(NamedTuple):
    """Valid ids of an integer feature: `low` to `size - 1`.

    Positions from `<feature>_length` on and positions where `<feature>_segments` or `mask` is 0 are padding, which may
    contain any value.

    Attributes:
      feature: Name of the feature, [batch, ...].
      size: Number of ids, which is the number of the model's outputs or embeddings.
      argument: Argument that determines `size`, for error messages. "" if it is unknown.
      classes: Whether the ids are classes that evaluation scores, so that training needs examples of each.
      ignored: Ids outside the range that the task ignores.
      mask: Feature of the same shape, 0 on padding.
      low: Smallest valid id.
    """

    feature: str
    size: int
    argument: str = ""
    classes: bool = False
    ignored: tuple[int, ...] = ()
    mask: str = ""
    low: int = 0


@dataclass(frozen=True, eq=False)
class Task:
    """Base class of tasks: what a model learns, how it is evaluated, and what it predicts.

    A task is a frozen dataclass whose fields are its model and settings. Its methods are pure functions of their
    arguments: they hold no state, do no I/O and do not depend on devices. Subclasses are declared
    `@dataclass(frozen=True, eq=False)`: bound methods are passed to `jax.jit`, which hashes them by identity then, so
    that fields need not be hashable.

    Every batch contains `weight` float32 [batch] (0 on padding) and `index` int32 [batch]. Draws that belong to an
    example use `example_keys(key, batch)`, so that they do not depend on how the batch is split.

    A subclass defines `init`, `phases`, `evaluate` and `predict`, and those of the optional methods that apply; the
    others are None:

    - `sample(params, variables, batch, key) -> {name: [batch, ...]}`: draws from a generative model. It reads `index`
      and shapes from the batch, and `label` if the model is conditional.
    - `score(records, metrics, names) -> {metric: float}`: corpus metrics, on the host, from the records of all examples
      ({name: [examples, ...]}) and the means that `evaluate` accumulated.
    - `logits(params, variables, image) -> [batch, classes]`: the classifier that `jaxdl explain` attributes;
      `image` is float [batch, height, width, channels] in [0, 255].
    - `causal(params, variables, batch) -> [batch, time, ...]`: outputs at each position of `batch["tokens"]`, which may
      depend on that position and earlier ones only.
    - `average(outputs) -> outputs`: combines the outputs [members, ...] of the models of an ensemble
      (`Experiment.ensemble`). The task applies its field `model` by `model.apply` only.

    `presentation` shows batches, examples and outputs; it is a class attribute or a property.
    """

    sample: ClassVar[Callable[..., Mapping[str, Array]] | None] = None
    score: ClassVar[Callable[..., Mapping[str, float]] | None] = None
    logits: ClassVar[Callable[..., Array] | None] = None
    causal: ClassVar[Callable[..., Array] | None] = None
    average: ClassVar[Callable[[PyTree], PyTree] | None] = None
    presentation: ClassVar[Presentation] = Presentation()

    def init(self, key: Array, batch: Batch) -> tuple[Mapping[str, PyTree], PyTree]:
        """Returns initial (params {group: tree}, variables); of `batch` only shapes and types matter."""
        raise NotImplementedError

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The updates of one step, in order."""
        raise NotImplementedError

    def evaluate(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> Evaluation:
        """Returns metric sums and per-example records of one batch."""
        raise NotImplementedError

    def predict(self, params: PyTree, variables: PyTree, batch: Batch, key: Array) -> Mapping[str, Array]:
        """Returns {name: [batch, ...]}, outputs that can be shown."""
        raise NotImplementedError

    def carry(self, batch: Batch) -> PyTree:
        """Returns the per-example state before the first step, leading axis = batch; {} for none."""
        return {}

    def id_ranges(self, params: PyTree, variables: PyTree, batch: Batch) -> Sequence[IdRange]:
        """Returns the valid ids of the integer features; arguments are shapes and types, without values.

        Training refuses other ids before the first step, see `jaxdl.training.ids`.
        """
        return ()

    def check_data(self, data: Any) -> None:
        """Raises UserError for a setting of `jaxdl.data.dataset.Data` that contradicts the task's, before training."""

    def token_count(self, batch: Batch) -> int:
        """Returns the tokens of a batch that one step processes, padding included; 0 for tasks without tokens.

        Args:
          batch: Shapes and types. Tokens are the integer features `tokens`, `source` and `target`, [batch, time].
        """
        arrays = [batch[name] for name in ("tokens", "source", "target") if name in batch]
        return sum(math.prod(array.shape) for array in arrays if array.dtype.kind in "iu" and len(array.shape) == 2)

    @property
    def packages(self) -> Mapping[str, str]:
        """Optional packages of the evaluation, {package: extra of pyproject.toml}; checked before the first step."""
        return {}

    @property
    def class_names(self) -> Names:
        """Class names by feature that replace the data set's, where the task merges or renames classes."""
        return {}

    @property
    def batch_coupled(self) -> str:
        """Why the loss is not a sum over examples (contrastive, ...), or "".

        Training refuses such a loss with micro-batches and under pmap, where it would not be that of the global batch.
        """
        return ""

    @property
    def batch_statistics(self) -> str:
        """Why the model depends on statistics of its batch (batch normalization, ...), or "".

        Statistics are those of the global batch, also under pmap, but of a micro-batch with accumulation.
        """
        return ""


def example_keys(key: Array, batch: Mapping[str, Array]) -> Array:
    """Returns one key per example, [batch], so that draws do not depend on how the batch is split."""
    return jax.vmap(lambda index: jax.random.fold_in(key, index))(batch["index"])


def module_key(key: Array, batch: Mapping[str, Array]) -> Array:
    """Returns a key for draws inside a module (dropout), which differs between micro-batches and devices."""
    return jax.random.fold_in(key, batch["index"][0])
