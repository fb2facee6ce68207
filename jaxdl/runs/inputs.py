"""What a run is trained from: checks that a folder's run fits its configuration and data, and their files."""

from collections.abc import Mapping, Sequence
from typing import Any

import fiddle as fdl

from jaxdl.config import describe
from jaxdl.config.experiment import Experiment, build
from jaxdl.config.serialize import accept, check_format, to_json
from jaxdl.config.settings import fingerprint
from jaxdl.data.dataset import origin
from jaxdl.data.source import Source, skipped_files
from jaxdl.data.text.tokenizers import Tokenizer
from jaxdl.errors import UserError
from jaxdl.runs import code, manifest
from jaxdl.runs.folder import RunFolder
from jaxdl.runs.restore import changed_settings, warn_of_changed_code
from jaxdl.training.sources import Sources, load_sources


def check_folder(
    folder: RunFolder,
    config: fdl.Config | Experiment,
    recipe: str,
    settings: Sequence[str],
    experiment: Experiment,
    allow: Sequence[str],
) -> tuple[str, dict[str, str]]:
    """Checks that a run folder is intact and that the run in it can be resumed with a configuration.

    Args as `make`.

    Returns:
      The content of config.json, and the digests of the modules outside jaxdl.

    Raises:
      UserError: A file is damaged, or the run has another configuration.
    """
    if folder.has_checkpoint:
        folder.restore(_derived(folder, config, recipe, settings, experiment))
        folder.check()
    check_config(folder, config, allow)
    saved = to_json(config, recipe, settings)
    accept(saved, loaded=True)  # by every process: each may run on another machine
    modules = code.digests(config, recipe)
    warn_of_changed_code(folder, modules)
    return saved, modules


def write_inputs(
    folder: RunFolder,
    config: fdl.Config | Experiment,
    recipe: str,
    settings: Sequence[str],
    saved: str,
    sources: Sources,
    provenance: Mapping[str, Any],
) -> None:
    """Writes what a run is trained from: tokenizers, configuration and manifest.

    Args:
      saved: Content of config.json.
      sources: Loaded data.
      provenance: Further entries of the manifest.
    """
    seed = (config if isinstance(config, Experiment) else build(config)).seed
    save_tokenizers(folder, sources.train)
    folder.write_config(saved, describe(config))
    known = {"recipe": recipe, "overrides": settings, "seed": seed}
    known |= {"config_fingerprint": None if isinstance(config, Experiment) else fingerprint(config)}
    manifest.start_manifest(folder, known | dict(provenance))


def _derived(
    folder: RunFolder, config: fdl.Config | Experiment, recipe: str, settings: Sequence[str], experiment: Experiment
) -> dict[str, str]:
    """Returns the contents of the damaged files of a run that its command derives: configuration and tokenizers."""
    texts = {"config.json": to_json(config, recipe, settings), "config.txt": describe(config)}
    if any(name.startswith("tokenizers/") for name in folder.problems()):
        names = load_sources(experiment.data).train.names
        texts |= {f"tokenizers/{key}.json": one.json for key, one in names.items() if isinstance(one, Tokenizer)}
    return texts


def describe_data(experiment: Experiment, sources: Sources) -> dict[str, Any]:
    """Returns the data sets of a run: {role: name, split, examples, fingerprint, class names}."""
    loaded = {"train": sources.train, **sources.evals}
    specified = {"train": experiment.data.train, **experiment.data.evals, "test": experiment.data.test}
    described = {}
    for role, source in loaded.items():
        dataset = origin(specified[role])
        described[role] = {
            "name": getattr(dataset, "name", type(dataset).__name__),
            "split": getattr(dataset, "split", None),
            "examples": len(source),
            "fingerprint": source.fingerprint,
            "names": {key: list(names) for key, names in source.names.items() if not isinstance(names, Tokenizer)},
        }
        if skipped := skipped_files(source):
            described[role]["skipped"] = list(skipped)
    return described


def save_tokenizers(folder: RunFolder, source: Source) -> None:
    """Writes the tokenizers of a source to the run folder, from which prediction reads them."""
    for feature, tokenizer in source.names.items():
        if isinstance(tokenizer, Tokenizer):
            folder.write_tokenizer(feature, tokenizer.json)


def check_config(
    folder: RunFolder, config: fdl.Config | Experiment, allow: Sequence[str], remedy: str | None = None
) -> None:
    """Refuses to resume a run under another configuration; settings that only observe the run may differ.

    Raises:
      UserError: The configuration differs. The message names the differences and the `remedy`; None: another --workdir
        or the flag that allows them.
    """
    if not (folder.path / "config.json").exists() or not folder.has_checkpoint:
        return
    check_format(folder.config(), str(folder.path / "config.json"))
    rows = [
        (kind, row)
        for row in changed_settings(folder, config)
        if (kind := "batch_size" if row[0] == "data.batch_size" else "config") not in allow
    ]
    if rows:
        listed = ", ".join(f"{name} was {before} and is {now}" for _, (name, before, now) in rows[:3])
        more = f" and {len(rows) - 3} more" if len(rows) > 3 else ""
        kinds = ",".join(sorted({kind for kind, _ in rows} | set(allow)))
        remedy = remedy or f"give another --workdir, or resume it with --allow={kinds}"
        raise UserError(f"{folder.path} contains a run with another configuration: {listed}{more}; {remedy}")


def check_data(folder: RunFolder, datasets: Mapping[str, Any], allow: Sequence[str]) -> None:
    """Refuses to resume a run on other data than it was started with.

    Raises:
      UserError: The data differ. The message names the data set and the flag that allows it.
    """
    if "data" in allow or not folder.has_checkpoint:
        return
    for role, before in manifest.latest(folder.manifest(), "datasets").items():
        now = datasets.get(role)
        if now is not None and now["fingerprint"] != before["fingerprint"]:
            raise UserError(
                f"{folder.path} was trained on other data: '{role}' had fingerprint {before['fingerprint'][:12]} with"
                f" {before['examples']} examples, now {now['fingerprint'][:12]} with {now['examples']};"
                " give another --workdir, or resume it with --allow=data"
            )
