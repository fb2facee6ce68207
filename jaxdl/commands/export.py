"""Exports a trained model to Hugging Face's format or to StableHLO."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import fiddle as fdl
import jax
import jax.numpy as jnp
from absl.flags import FlagValues

from jaxdl.commands.flags import STEP, TRUST, Command, Flag
from jaxdl.config.serialize import from_json
from jaxdl.data.store.pretrained import TOKENIZER
from jaxdl.data.text.special_tokens import END, PAD, SPECIALS, START, UNKNOWN
from jaxdl.data.text.tokenizers import Tokenizer
from jaxdl.errors import UserError, write_errors
from jaxdl.home import expanded
from jaxdl.interop.huggingface.checkpoints import check_model, write_model
from jaxdl.interop.huggingface.companions import (
    GENERATION,
    PREPROCESSOR,
    TOKENIZER_CONFIG,
    preprocessor_config,
    tokenizer_config,
    with_rgb_inputs,
    with_template,
)
from jaxdl.interop.huggingface.files import CONFIG
from jaxdl.interop.huggingface.layout import NO_DETAILS, Details
from jaxdl.interop.stablehlo import write_program
from jaxdl.runs.exports import export_folder
from jaxdl.runs.folder import RunFolder
from jaxdl.runs.inference import inputs_of
from jaxdl.runs.restore import Trained, load_trained
from jaxdl.tasks.image_classification import ImageClassification
from jaxdl.tasks.language_modelling import LanguageModelling
from jaxdl.tasks.parts.seq2seq import Seq2Seq
from jaxdl.training.task import Task

COMMAND = Command(
    name="export",
    summary="Exports a trained model to Hugging Face's format or to StableHLO",
    synopsis=("RUN --output=DIR [--to=FORMAT] [--step=N] [--trust]",),
    flags=(
        Flag("output", "Folder to write.", value="DIR", instead=("workdir",)),
        Flag(
            "to",
            "huggingface by default; stablehlo is a program that runs with JAX alone.",
            default="huggingface",
            choices=("huggingface", "stablehlo"),
        ),
        STEP,
        TRUST,
    ),
    example="jaxdl export runs/digits --to=stablehlo --output=digits",
)


def main(arguments: list[str], flags: FlagValues) -> None:
    run(arguments[0], flags.step, flags.output, flags.to)


def run(path: str, step: int | None, output: str, to: str = "huggingface") -> Path:
    """Writes a run's model in Hugging Face's format or as a StableHLO program.

    Hugging Face's format: config.json and model.safetensors of an architecture in
    `jaxdl.interop.huggingface.checkpoints`; an image classifier, as one of RGB images, with preprocessor_config.json; a
    model of text with tokenizer.json, tokenizer_config.json and generation_config.json. A StableHLO program of any
    task computes the outputs of `jaxdl predict` for a batch of any size, see `jaxdl.interop.stablehlo`; signature.json
    has the class names and states how image files are decoded and framed, see `ImagePreprocessing.describe`. If the
    run keeps an average of the weights, the average is exported.

    Args:
      path: Run folder.
      step: Checkpoint. None: the one of `Experiment.select`.
      output: Folder to write. It must be empty or contain an export of the same run, which is replaced.
      to: "huggingface" or "stablehlo".

    Returns:
      The folder.

    Raises:
      UserError: A run that cannot be read, a model without a Hugging Face equivalent, or a folder that cannot be
        written.
    """
    folder = expanded(output)
    with export_folder(folder, RunFolder.open(path)) as part:
        write = _write_program if to == "stablehlo" else _write_huggingface
        taken, use = write(path, step, part)
    print(f"step {taken} of {path} is in {folder}{use}")
    return folder


def _write_huggingface(path: str, step: int | None, folder: Path) -> tuple[int, str]:
    """Writes a run's model in Hugging Face's format; returns its step and how to use it."""
    config = from_json(RunFolder.open(path).config(), f"{path}/config.json").config
    task = config.task
    if config.__arguments__.get("ensemble"):
        raise UserError(f"{path} is an ensemble, which has no Hugging Face format; export it with --to=stablehlo")
    if "model" not in task.__arguments__:
        raise UserError(f"{path} trains several models; only ResNets and Transformers have a Hugging Face format")
    model: Any = fdl.build(task.model)
    check_model(model)
    trained = load_trained(path, step)
    params, variables = trained.state.evaluated
    ((group, weights),) = params.items()
    collections = {**variables.get(group, {}), "params": weights}
    files: dict[str, dict[str, Any]] = {CONFIG: {}}
    details, tokenizer = NO_DETAILS, next(iter(trained.tokenizers.values()), None)
    if isinstance(trained.task, ImageClassification):
        images, names = inputs_of(trained, path).images(), trained.names.get("label")
        details = Details(tuple(names) if names else None, images.shape[:2])
        normalize, described = trained.task.normalize, images.describe()
        preprocessor = preprocessor_config(described["steps"], normalize.mean, normalize.std) if described else None
        if preprocessor is None:
            print(f"transformers has no equivalent of the run's data.eval_transforms; {folder} has no {PREPROCESSOR}")
        files |= {PREPROCESSOR: preprocessor} if preprocessor else {}
        collections["params"] = with_rgb_inputs(model, jax.device_get(weights))
    else:
        files |= _text_files(trained.task, model, tokenizer is not None)
    write_model(folder, model, collections, details, files)
    if tokenizer is not None:
        content = with_template(tokenizer.huggingface, SPECIALS, *_added_tokens(trained, path, tokenizer))
        with write_errors(folder / TOKENIZER):
            (folder / TOKENIZER).write_text(content, encoding="utf-8")
    return int(trained.state.step), "; load it with from_pretrained of transformers"


def _text_files(task: Any, model: Any, tokenizer: bool) -> dict[str, dict[str, Any]]:
    """Returns the special tokens of config.json, and how transformers tokenizes and generates as the task does."""
    tokens = {"bos_token_id": START, "eos_token_id": END, "pad_token_id": PAD}
    generation: dict[str, Any] = {}
    if isinstance(task, Seq2Seq):
        tokens["decoder_start_token_id"] = START
        length = task.max_length or model.length
        generation = {"do_sample": False, "num_beams": task.beam, "max_new_tokens": length}
        generation |= {"early_stopping": True, "length_penalty": task.length_penalty} if task.beam > 1 else {}
        if task.beam > 1 and task.length_penalty:
            print(
                f"transformers divides log-probabilities by length**{task.length_penalty}, jaxdl by"
                f" ((5 + length) / 6)**{task.length_penalty}: their beams may differ; set task.length_penalty=0"
            )
    elif isinstance(task, LanguageModelling):
        generation = {"do_sample": task.temperature > 0.0, "max_new_tokens": task.new_tokens}
        sampling = {"temperature": task.temperature, "top_k": task.top_k, "top_p": task.top_p}
        generation |= sampling if task.temperature > 0.0 else {}
        generation["repetition_penalty"] = task.repetition_penalty
    files: dict[str, dict[str, Any]] = {CONFIG: tokens}
    if generation:
        files[GENERATION] = {**tokens, **generation, "suppress_tokens": [PAD, START, UNKNOWN]}
    if tokenizer:
        side = "left" if isinstance(task, LanguageModelling) else "right"
        files[TOKENIZER_CONFIG] = tokenizer_config(SPECIALS, getattr(model, "positions", None), side, not generation)
    return files


def _added_tokens(trained: Trained, path: str, tokenizer: Tokenizer) -> tuple[bool, bool]:
    """Returns whether the run's data enclose a text in <start> and <end>, from an example."""
    text = next(text for text in tokenizer[len(SPECIALS) :] if tokenizer.encode(text).size)
    example = inputs_of(trained, path).read([], [text])[0].example
    tokens = next(example[feature] for feature in trained.tokenizers if feature in example)
    return bool(tokens[0] == START), bool(END in tokens)


def program_of(task: Task, seed: int) -> Callable[[Any, Mapping[str, jax.Array]], Any]:
    """Returns the function of `jaxdl predict` from ((params, variables), batch), for batches of any size."""

    def predict(weights: Any, batch: Mapping[str, jax.Array]) -> Any:
        params, variables = weights
        rows = next(iter(batch.values())).shape[0]
        more = {"weight": jnp.ones(rows), "index": jnp.arange(rows, dtype=jnp.int32)}
        return task.predict(params, variables, {**batch, **more}, jax.random.key(seed))

    return predict


def _write_program(path: str, step: int | None, folder: Path) -> tuple[int, str]:
    """Writes a run's predictions as a program, with its tokenizers; returns its step and its inputs."""
    trained = load_trained(path, step)
    reader = inputs_of(trained, path)
    files = {feature: f"{feature}_{TOKENIZER}" for feature in trained.tokenizers}
    for feature, tokenizer in trained.tokenizers.items():
        with write_errors(folder / files[feature]):
            (folder / files[feature]).write_text(tokenizer.huggingface + "\n")
    preprocessing = reader.describe() | ({"tokenizers": files} if files else {})
    specs = trained.record["batch"] | reader.evaluated_images
    function, weights = program_of(trained.task, trained.experiment.seed), trained.state.evaluated
    classes = {feature: names for feature, names in trained.names.items() if not isinstance(names, Tokenizer)}
    inputs = write_program(folder, function, weights, specs, preprocessing=preprocessing, classes=classes)
    return int(trained.state.step), f", a program with inputs {', '.join(inputs)}"
