"""`launch.py export`: a trained run as a folder that another library loads, or JAX alone."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import fiddle as fdl
import jax
import jax.numpy as jnp

from jaxdl.config import serialize
from jaxdl.config.experiment import Experiment
from jaxdl.data.store.pretrained import TOKENIZER
from jaxdl.errors import UserError, nearest
from jaxdl.interop.huggingface.resnet import write_resnet
from jaxdl.interop.huggingface.transformers import check_transformer, write_transformer
from jaxdl.interop.stablehlo import write_program
from jaxdl.models.resnet import ResNet
from jaxdl.runs.folder import RunFolder
from jaxdl.runs.restore import load_trained
from jaxdl.tasks.image_classification import GROUP, ImageClassification

PREPROCESSOR = "preprocessor_config.json"


KINDS = ("huggingface", "stablehlo")


def run(path: str, step: int | None = None, output: str | None = None, to: str = "huggingface") -> Path:
    """Writes a run's model in Hugging Face's format, for transformers to load, or as a program of JAX.

    Hugging Face's: config.json and model.safetensors, of a ResNet that classifies images with preprocessor_config.json,
    of a Transformer of a kind in `jaxdl.interop.huggingface.transformers` that reads text with tokenizer.json. A
    program, of any
    task: what `launch.py predict` computes for a batch of any size, see `jaxdl.interop.stablehlo`. The averaged weights
    are written where the run keeps an average.

    Args:
      path: the run folder.
      step: the checkpoint; None for the newest.
      output: the folder to write, which must not hold a model.
      to: "huggingface" or "stablehlo".

    Returns:
      the folder.

    Raises:
      UserError: no output, a run that cannot be read, a model that has no Hugging Face equivalent, a folder that cannot
        be written.
    """
    if not output:
        raise UserError("export needs a folder to write: python launch.py export RUN --output=DIR")
    if to not in KINDS:
        raise UserError(f"--to={to} is unknown; {nearest(to, KINDS)}")
    if to == "stablehlo":
        return _write_program(path, step, Path(output).expanduser())
    task = serialize.from_json(RunFolder.open(path).config(), f"{path}/config.json").config.task
    if "model" not in task.__arguments__:
        raise UserError(f"{path} trains more than one model; ResNets and Transformers alone can be exported")
    model: Any = fdl.build(task.model)
    folder = Path(output).expanduser()
    if isinstance(model, ResNet) and fdl.get_callable(task) is ImageClassification:
        trained = load_trained(path, step)
        params, variables = trained.state.evaluated
        statistics = variables.get(GROUP, {}).get("batch_stats", {})
        write_resnet(folder, model, params[GROUP], statistics, trained.names.get("label"))
        shape = trained.record["batch"]["image"][0]
        (folder / PREPROCESSOR).write_text(json.dumps(_preprocessor(task, shape), indent=2) + "\n")
    else:
        check_transformer(model)
        trained = load_trained(path, step)
        (params,) = trained.state.evaluated[0].values()
        write_transformer(folder, model, params)
        tokenizer = next(iter(trained.tokenizers.values()), None)
        if tokenizer is not None:
            (folder / TOKENIZER).write_text(tokenizer.huggingface + "\n")
    print(f"step {int(trained.state.step)} of {path} is in {folder}, for transformers to load with from_pretrained")
    return folder


def program_of(experiment: Experiment) -> Callable[[Any, Mapping[str, jax.Array]], Any]:
    """What `launch.py predict` computes of ((params, variables), batch), for every example of a batch of any size."""

    def predict(weights: Any, batch: Mapping[str, jax.Array]) -> Any:
        params, variables = weights
        rows = next(iter(batch.values())).shape[0]
        more = {"weight": jnp.ones(rows), "index": jnp.arange(rows, dtype=jnp.int32)}
        return experiment.task.predict(params, variables, {**batch, **more}, jax.random.key(experiment.seed))

    return predict


def _write_program(path: str, step: int | None, folder: Path) -> Path:
    trained = load_trained(path, step)
    inputs = write_program(folder, program_of(trained.experiment), trained.state.evaluated, trained.record["batch"])
    print(f"step {int(trained.state.step)} of {path} is in {folder}, a program of {', '.join(inputs)}")
    return folder


def _preprocessor(task: fdl.Config, shape: Sequence[int]) -> Mapping[str, Any]:
    """How transformers brings an image to the size and the normalization that the model was trained with."""
    height, width, channels = shape
    mean, std = task.normalize.mean, task.normalize.std
    return {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": height, "width": width},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(mean) if isinstance(mean, Sequence) else [mean] * channels,
        "image_std": list(std) if isinstance(std, Sequence) else [std] * channels,
    }
