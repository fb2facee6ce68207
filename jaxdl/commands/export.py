"""Exports a trained model to Hugging Face's format or to StableHLO."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import fiddle as fdl
import jax
import jax.numpy as jnp
from absl.flags import FlagValues

from jaxdl.commands.flags import STEP, Command, Flag
from jaxdl.config.experiment import Experiment
from jaxdl.config.serialize import from_json
from jaxdl.data.store.pretrained import TOKENIZER
from jaxdl.errors import UserError
from jaxdl.interop.huggingface.resnet import write_resnet
from jaxdl.interop.huggingface.transformers import check_transformer, write_transformer
from jaxdl.interop.stablehlo import write_program
from jaxdl.models.resnet import ResNet
from jaxdl.runs.folder import RunFolder
from jaxdl.runs.restore import load_trained
from jaxdl.tasks.image_classification import ImageClassification

COMMAND = Command(
    name="export",
    summary="Exports a trained model to Hugging Face's format or to StableHLO",
    synopsis=("RUN --output=DIR [--to=FORMAT] [--step=N]",),
    flags=(
        Flag("output", "Folder to write.", value="DIR", instead=("workdir",)),
        Flag(
            "to",
            "huggingface by default; stablehlo is a program that runs with JAX alone.",
            default="huggingface",
            choices=("huggingface", "stablehlo"),
        ),
        STEP,
    ),
    example="jaxdl export runs/digits --to=stablehlo --output=digits",
)

PREPROCESSOR = "preprocessor_config.json"


def main(arguments: list[str], flags: FlagValues) -> None:
    run(arguments[0], flags.step, flags.output, flags.to)


def run(path: str, step: int | None, output: str, to: str = "huggingface") -> Path:
    """Writes a run's model in Hugging Face's format or as a StableHLO program.

    Hugging Face's format: config.json and model.safetensors. A ResNet classifier adds preprocessor_config.json, a
    Transformer of a kind in `jaxdl.interop.huggingface.transformers` adds tokenizer.json. A StableHLO program of any
    task computes the outputs of `jaxdl predict` for a batch of any size, see `jaxdl.interop.stablehlo`. If the run
    keeps an average of the weights, the average is exported.

    Args:
      path: Run folder.
      step: Checkpoint. None: the newest.
      output: Folder to write, which must not contain a model.
      to: "huggingface" or "stablehlo".

    Returns:
      The folder.

    Raises:
      UserError: A run that cannot be read, a model without a Hugging Face equivalent, or a folder that cannot be
        written.
    """
    if to == "stablehlo":
        return _write_program(path, step, Path(output).expanduser())
    task = from_json(RunFolder.open(path).config(), f"{path}/config.json").config.task
    if "model" not in task.__arguments__:
        raise UserError(f"{path} trains several models; only ResNets and Transformers have a Hugging Face format")
    model: Any = fdl.build(task.model)
    folder = Path(output).expanduser()
    if isinstance(model, ResNet) and fdl.get_callable(task) is ImageClassification:
        trained = load_trained(path, step)
        params, variables = trained.state.evaluated
        statistics = variables.get(ImageClassification.group, {}).get("batch_stats", {})
        write_resnet(folder, model, params[ImageClassification.group], statistics, trained.names.get("label"))
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
    print(f"step {int(trained.state.step)} of {path} is in {folder}; load it with from_pretrained of transformers")
    return folder


def program_of(experiment: Experiment) -> Callable[[Any, Mapping[str, jax.Array]], Any]:
    """Returns the function of `jaxdl predict` from ((params, variables), batch), for batches of any size."""

    def predict(weights: Any, batch: Mapping[str, jax.Array]) -> Any:
        params, variables = weights
        rows = next(iter(batch.values())).shape[0]
        more = {"weight": jnp.ones(rows), "index": jnp.arange(rows, dtype=jnp.int32)}
        return experiment.task.predict(params, variables, {**batch, **more}, jax.random.key(experiment.seed))

    return predict


def _write_program(path: str, step: int | None, folder: Path) -> Path:
    trained = load_trained(path, step)
    inputs = write_program(folder, program_of(trained.experiment), trained.state.evaluated, trained.record["batch"])
    print(f"step {int(trained.state.step)} of {path} is in {folder}, a program with inputs {', '.join(inputs)}")
    return folder


def _preprocessor(task: fdl.Config, shape: Sequence[int]) -> Mapping[str, Any]:
    """Returns the image size and normalization of training, as transformers expects them."""
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
