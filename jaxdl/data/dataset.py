"""Dataset: one split of a data set, by name. Data: all that a recipe says about its data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from jaxdl.data.source import Source
from jaxdl.data.transforms import Mix, Transform
from jaxdl.errors import UserError


class Loadable(Protocol):
    """Anything that can be loaded: `Dataset`, `MockImages`, or a class of the user's own."""

    def load(self) -> Source: ...


@dataclass(frozen=True)
class Dataset:
    """One split of a data set.

    Attributes:
      name: one of
        - a file of `jaxdl/data/builders`, such as `fashion_mnist`;
        - a dotted module of your own that defines `Builder`, a TFDS builder, such as `mylab.flowers`;
        - `tfds:NAME` or `tfds:NAME/config`, any data set that TFDS reads;
        - `folder:PATH`, images in one folder a class, read as RGB; below `PATH/train`, `PATH/test` and so on if
          `PATH/train` exists, else all one split, `train`, in a fixed random order;
        - `coco:PATH`, boxes and masks in the layout of COCO: `PATH/annotations/instances_SPLIT.json` and the images in
          `PATH/SPLIT`; see `jaxdl.data.coco.Coco`.
      split: in the syntax of TFDS: `train[:55000]`, `train[80%:]`, `train+test`.
      features: the features to load; empty: all.
    """

    name: str
    split: str
    features: tuple[str, ...] = ()

    def load(self) -> Source:
        """Opens the examples; a set that is not yet on this machine is prepared first.

        Raises:
          UserError: no such data set, split or feature; a damaged file; data that cannot be had from here.
        """
        if self.name.startswith("folder:"):
            from jaxdl.data.folder import open_folder

            return open_folder(self.name.removeprefix("folder:"), self.split)
        if self.name.startswith("coco:"):
            from jaxdl.data.coco import Coco

            return Coco(self.name.removeprefix("coco:"), self.split, tuple(self.features)).load()
        from jaxdl.data.resolve import ready

        return ready(self.name).open(self.split, tuple(self.features))


@dataclass(frozen=True)
class Data:
    """What a recipe says about its data.

    Attributes:
      train: what to learn from.
      evals: what to evaluate on during training, by the name that the figures are reported under.
      batch_size: examples a training step, over all devices and processes together.
      test: scored once, at the end.
      augment: transforms of training examples, in order.
      eval_transforms: transforms of the examples of `evals` and `test`, in order.
      mix: blends each training example with another one.
      eval_batch_size: examples an evaluation step; None: `batch_size`.
      threads: threads that read and transform; 0 reads in the one thread that prefetches.
      workers: processes that read and transform; 0: none.
    """

    train: Loadable
    evals: Mapping[str, Loadable]
    batch_size: int
    test: Loadable | None = None
    augment: tuple[Transform, ...] = ()
    eval_transforms: tuple[Transform, ...] = ()
    mix: Mix | None = None
    eval_batch_size: int | None = None
    threads: int = 0
    workers: int = 0

    def __post_init__(self):
        if self.batch_size < 1 or (self.eval_batch_size is not None and self.eval_batch_size < 1):
            raise UserError(f"a batch size must be 1 or more, not {min(self.batch_size, self.eval_batch_size or 1)}")
        if self.threads < 0 or self.workers < 0:
            raise UserError("data.threads and data.workers must be 0 or more")
