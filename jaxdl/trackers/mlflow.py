"""MLflow.

MLFLOW_TRACKING_URI names the server, MLFLOW_EXPERIMENT_NAME the experiment, by default "jaxdl".
"""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxdl.trackers import TrackedRun

PACKAGES = {"mlflow": "mlflow"}
_BATCH, _LONGEST = 100, 500  # parameters per request, and characters of a value, which servers accept


def start(run: TrackedRun) -> "MLflow":
    """Begins or continues a run; its parameters are those of the first attempt, since MLflow's do not change."""
    from mlflow.entities import Param
    from mlflow.tracking import MlflowClient

    client = MlflowClient()
    if run.id:
        client.update_run(run.id, status="RUNNING")
        return MLflow(client, run.id)
    id = client.create_run(_experiment(client), run_name=run.name).info.run_id
    params = [Param(_name(key), str(value)[:_LONGEST]) for key, value in run.config.items()]
    for first in range(0, len(params), _BATCH):
        client.log_batch(id, params=params[first : first + _BATCH])
    return MLflow(client, id)


class MLflow:
    """Run of MLflow, see `jaxdl.trackers.Tracker`.

    Args:
      client: `mlflow.tracking.MlflowClient`.
      id: Identifier of the run.
    """

    def __init__(self, client: Any, id: str):
        self._client, self.id = client, id
        histories = (client.get_metric_history(id, key) for key in client.get_run(id).data.metrics)
        self.step = max((value.step for history in histories for value in history), default=-1)

    def log(self, step: int, metrics: Mapping[str, float], pictures: Mapping[str, Path]) -> None:
        from mlflow.entities import Metric

        for path in pictures.values():
            self._client.log_artifact(self.id, str(path), "pictures")
        now = int(1000 * time.time())
        self._client.log_batch(
            self.id, metrics=[Metric(_name(key), value, now, step) for key, value in metrics.items()]
        )

    def finish(self, result: Mapping[str, Any] | None) -> None:
        if result is not None:
            self._client.log_dict(self.id, dict(result), "result.json")
        self._client.set_terminated(self.id, "FINISHED" if result is not None else "KILLED")


def _experiment(client: Any) -> str:
    """Returns the id of the experiment, which is created if it does not exist; runs of a sweep start together."""
    from mlflow.exceptions import MlflowException

    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "jaxdl")
    if (found := client.get_experiment_by_name(name)) is None:
        try:
            return client.create_experiment(name)
        except MlflowException:  # another run has created it
            if (found := client.get_experiment_by_name(name)) is None:
                raise
    return found.experiment_id


def _name(key: str) -> str:
    """Returns a name of MLflow, which has letters, digits and "_-. :/"; other signs become "_"."""
    return "".join(sign if sign.isalnum() or sign in "_-. :/" else "_" for sign in key)
