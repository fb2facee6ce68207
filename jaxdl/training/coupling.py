"""Losses that depend on how a batch is split: refused or warned of, where it is split."""

from collections.abc import Mapping

from absl import logging

from jaxdl.config.experiment import Experiment
from jaxdl.errors import UserError


def check_coupling(experiment: Experiment, norms: Mapping[str, str | None], devices: int) -> None:
    """Refuses or warns of a loss that depends on other examples, where the batch is split.

    Under jit arrays are global, so the loss is that of the global batch on any number of devices.

    Args:
      experiment: The experiment, with its micro-batches and parallel mode.
      norms: Axis name by path of the batch normalizations in the train step (`jaxdl.training.tracing.batch_norms`).
      devices: Number of devices.

    Raises:
      UserError: A loss that is not a sum over examples, with micro-batches or under pmap, or batch normalization over
        one device's part of the batch under pmap.
    """
    task, pmap = experiment.task, experiment.parallel.mode == "pmap" and devices > 1
    setting, fix = "parallel.mode=pmap", "use parallel.mode=jit, which computes it over the global batch"
    if experiment.accumulate > 1:
        setting, fix = f"accumulate={experiment.accumulate}", "use accumulate=1"
    if task.batch_coupled and (pmap or experiment.accumulate > 1):
        raise UserError(f"the loss is not a sum over examples ({task.batch_coupled}), so {setting} changes it; {fix}")
    local = [path for path, axis_name in norms.items() if axis_name is None]
    if pmap and local:
        raise UserError(
            f"nn.BatchNorm '{local[0]}' has axis_name=None, so under parallel.mode=pmap it normalizes one device's part"
            " of the batch; use jaxdl.models.layers.norms.batch_norm or parallel.mode=jit"
        )
    if experiment.accumulate > 1 and (norms or task.batch_statistics):
        examples = experiment.data.batch_size // experiment.accumulate
        logging.warning(
            "accumulate=%d: %s; statistics are those of micro-batches of %d examples, so the loss is not that of"
            " accumulate=1",
            experiment.accumulate,
            task.batch_statistics or "batch normalization",
            examples,
        )
