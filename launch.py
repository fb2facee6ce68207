"""jaxdl: one command for every recipe.

  python launch.py --config=RECIPE [--set=NAME=VALUE ...] [--workdir=DIR]     train, or go on with the run in DIR
  python launch.py sweep --config=RECIPE [--grid=seed=0..4] [--dry_run]       many runs; by default seeds 0..4
  python launch.py sweep --config=RECIPE --trials=20 --space=ema=0.9,0.99     settings that a search chooses
  python launch.py plan --config=RECIPE --topology=v5e:16x16 [--search]       compiled for devices that are not here
  python launch.py eval RUN [--step=N] [--split=NAME] [--set=task.beam=8]     score a trained run
  python launch.py predict RUN FILE... | --text=TEXT... [--set=task.beam=8]   use it on your own files or texts
  python launch.py predict RUN --interactive                                   talk to a language model
  python launch.py predict RUN --samples=16 [--seed=1] [--label=CLASS]        what a generative model makes from nothing
  python launch.py explain RUN FILE... [--layer=NAME] [--target=CLASS]        what a classifier's answers rest on
  python launch.py explain RUN --text=TEXT...                                 where a Transformer's heads look
  python launch.py export RUN --output=DIR [--to=stablehlo] [--step=N]        in Hugging Face's format, or for JAX alone
  python launch.py show --config=RECIPE [--set=...]                           every argument with its value
  python launch.py show --config=RECIPE --shardings [--topology=v5e:4x4]      how each parameter is cut over devices
  python launch.py list [--format=json]                                       recipes and their recorded results
  python launch.py diff RUN RUN                                               where two runs' configurations differ
  python launch.py curves RUN... [--output=FILE.png]                          how they learned over time, one picture
  python launch.py report DIR... [--output=FILE.html] [--metric=EVAL/NAME]    runs compared: a page, a table, Markdown
  python launch.py report --gallery [DIR...] [--output=FILE.html]             every recipe with its recorded result
  python launch.py reproduce RUN [--output=DIR] [--dry_run]                   make it again, and compare
  python launch.py record RUN...                                              add runs to experiments/results.csv
  python launch.py data [--prepare NAME]                                      data sets: what is here, fetch one

Exit codes: 0 done, 2 a mistake of yours (one line says which), 75 saved and stopped, by a signal or because another
process of the run was lost: run again, 1 the rest.
"""

import os
import sys
from collections.abc import Callable, Sequence

from absl import app, flags, logging

from jaxdl.distributed.processes import WATCHED, Place, initialize
from jaxdl.errors import Failed, UserError, nearest
from jaxdl.runs.environment import configure, end_with_parent, huge_pages

FLAGS = flags.FLAGS
flags.DEFINE_string("config", None, "The recipe: a path such as experiments/cnn/digits.py, or a dotted module name.")
flags.DEFINE_multi_string("set", [], "NAME=VALUE: an argument of the recipe, or a path in what it builds. Repeatable.")
flags.DEFINE_string("workdir", None, "The run folder; by default runs/<recipe>-<fingerprint of the configuration>.")
flags.DEFINE_list("allow", [], "Differences to accept when going on with a run: config, data, batch_size.")
flags.DEFINE_integer("step", None, "The checkpoint to use; by default the newest.", lower_bound=0)
flags.DEFINE_string("split", None, "What to score: an evaluation's name, or a split such as 'train[:1000]'.")
flags.DEFINE_string("format", "text", "Output of list, eval and predict: text or json.")
flags.DEFINE_string("prepare", None, "The data set to fetch and prepare.")
flags.DEFINE_string(
    "output",
    None,
    "predict: also write the JSON lines to this file; explain, export: the folder to write; curves: the picture;"
    " report: the page; reproduce: the folder of the new run.",
)
flags.DEFINE_string("to", "huggingface", "export: huggingface, or stablehlo, a program that JAX alone runs.")
flags.DEFINE_multi_string("text", [], "predict, explain: a sentence, or a prompt to go on from. Repeatable.")
flags.DEFINE_boolean("interactive", False, "predict: talk to a language model, line by line.")
flags.DEFINE_integer("samples", None, "predict: how many samples a generative model makes.", lower_bound=1)
flags.DEFINE_integer("seed", None, "predict: the seed of the samples; by default the run's own.", lower_bound=0)
flags.DEFINE_string("label", None, "predict: the class of the samples, by name or number; by default all in turn.")
flags.DEFINE_string("pictures", None, "predict: the folder for pictures; by default predictions/ in the run folder.")
flags.DEFINE_string("layer", None, "explain: the layer for Grad-CAM; by default the last one that is an image's map.")
flags.DEFINE_string("target", None, "explain: the class to explain, by name or number; by default the predicted one.")
flags.DEFINE_string(
    "metric",
    None,
    "report: EVAL/NAME to compare by; sweep --trials: EVAL/NAME:min or :max; by default the recipe's own.",
)
flags.DEFINE_boolean("gallery", False, "report: a page of all recipes; folders with runs give it pictures.")
flags.DEFINE_multi_string(
    "grid",
    [],
    "sweep: NAME=VALUE,VALUE or NAME=0..4; NAME,NAME=(A,B),(C,D). Repeatable. Default: sweep(), or seed=0..4.",
)
flags.DEFINE_string("launcher", "local", "sweep: who makes the runs: local; kubernetes, tpu: a file is written.")
flags.DEFINE_string("topology", None, "plan, show --shardings: the devices to compile for: v5e:16x16, h100:1x8, cpu:8.")
flags.DEFINE_boolean("shardings", False, "show: how each parameter is cut over the devices.")
flags.DEFINE_string("shape", None, "plan: HEIGHT,WIDTH,CHANNELS of made-up images in place of the recipe's data.")
flags.DEFINE_boolean("search", False, "plan: try other meshes, recomputation and micro-batches.")
flags.DEFINE_multi_string("launch", [], "sweep: NAME=VALUE, a setting of the launcher. Repeatable.")
flags.DEFINE_integer("slots", None, "sweep: runs at once; by default one a GPU, without GPUs one a core, up to 8.")
flags.DEFINE_integer("trials", None, "sweep: so many runs, whose settings Optuna chooses from --space.", lower_bound=1)
flags.DEFINE_multi_string("space", [], "sweep --trials: NAME=1e-4..1e-2:log, NAME=16..64:16, NAME=A,B. Repeatable.")
flags.DEFINE_integer("retries", 1, "sweep: how often a run that failed is tried again.", lower_bound=0)
flags.DEFINE_boolean("dry_run", False, "sweep, reproduce: say what would be done or what differs, and do nothing.")
flags.DEFINE_alias("dry-run", "dry_run")
flags.DEFINE_integer("processes", None, "train: how many processes make one run, where no cluster says so.")
flags.DEFINE_integer("process", None, "train: the number of this one, from 0 on.", lower_bound=0)
flags.DEFINE_string("coordinator", None, "train: HOST:PORT of process 0.")
flags.DEFINE_integer("heartbeat", 30, "train: seconds without a sign of life after which a process is lost.", 1)
flags.DEFINE_integer("cpu_devices", None, "Run on this many virtual CPU devices.")
flags.DEFINE_boolean("deterministic", True, "On a GPU, use only kernels that give the same bits every time.")
flags.DEFINE_boolean("debug", False, "Show the traceback of a mistake.")


def _train(arguments: Sequence[str]) -> None:
    _no_more(arguments, "train")
    from jaxdl.commands import train

    initialize(_place())
    train.run(_config(), FLAGS.set, FLAGS.workdir, FLAGS.allow, sys.argv)


def _place() -> Place:
    return Place(FLAGS.processes, FLAGS.process, FLAGS.coordinator, FLAGS.heartbeat)


def _eval(arguments: Sequence[str]) -> None:
    from jaxdl.commands import evaluate

    evaluate.run(_one(arguments, "eval", "RUN"), FLAGS.step, FLAGS.split, FLAGS.format, FLAGS.set)


def _predict(arguments: Sequence[str]) -> None:
    if FLAGS.interactive:
        if FLAGS.text or FLAGS.samples is not None:
            raise UserError("--interactive takes a run folder alone: python launch.py predict RUN --interactive")
        from jaxdl.commands import chat

        chat.run(_one(arguments, "predict --interactive", "RUN"), FLAGS.step, FLAGS.set)
        return
    if FLAGS.samples is not None:
        _sample(arguments)
        return
    if FLAGS.seed is not None or FLAGS.label is not None:
        raise UserError("--seed and --label belong to --samples: python launch.py predict RUN --samples=16 --seed=1")
    if len(arguments) < 2 and not (arguments and FLAGS.text):
        raise UserError("predict needs a run folder and files, or --text: python launch.py predict RUN FILE...")
    from jaxdl.commands import predict

    run, *files = arguments
    predict.run(run, files, FLAGS.text, FLAGS.step, FLAGS.format, FLAGS.output, FLAGS.pictures, FLAGS.set)


def _sample(arguments: Sequence[str]) -> None:
    if len(arguments) != 1 or FLAGS.text:
        raise UserError("--samples takes a run folder alone: python launch.py predict RUN --samples=16")
    from jaxdl.commands import predict

    settings = [*FLAGS.set, *([] if FLAGS.seed is None else [f"seed={FLAGS.seed}"])]
    options = (FLAGS.step, FLAGS.format, FLAGS.output, FLAGS.pictures, settings)
    predict.sample(arguments[0], FLAGS.samples, FLAGS.label, *options)


def _explain(arguments: Sequence[str]) -> None:
    if FLAGS.text:
        from jaxdl.commands import explain_text

        explain_text.run(_one(arguments, "explain --text=...", "RUN"), FLAGS.text, FLAGS.step, FLAGS.output)
        return
    if len(arguments) < 2:
        raise UserError("explain needs a run folder and files, or --text: python launch.py explain RUN FILE...")
    from jaxdl.commands import explain

    explain.run(arguments[0], arguments[1:], FLAGS.step, FLAGS.layer, FLAGS.target, FLAGS.output)


def _export(arguments: Sequence[str]) -> None:
    from jaxdl.commands import export

    export.run(_one(arguments, "export", "RUN"), FLAGS.step, FLAGS.output, FLAGS.to)


def _show(arguments: Sequence[str]) -> None:
    _no_more(arguments, "show")
    from jaxdl.config import overrides, serialize
    from jaxdl.config.recipes import load_recipe

    if FLAGS.shardings:
        from jaxdl.commands import show

        show.show(_config(), FLAGS.set, FLAGS.topology, FLAGS.shape)
        return
    config = overrides.resolve(load_recipe(_config()), FLAGS.set)
    serialize.build(config)
    print(serialize.as_text(config), end="")


def _list(arguments: Sequence[str]) -> None:
    _no_more(arguments, "list")
    from jaxdl.commands import list as list_command
    from jaxdl.config.recipes import repository_root

    list_command.show(repository_root(), FLAGS.format)


def _diff(arguments: Sequence[str]) -> None:
    if len(arguments) != 2:
        raise UserError("diff needs two run folders: python launch.py diff RUN RUN")
    from jaxdl.commands import diff

    diff.show_diff(arguments[0], arguments[1])


def _curves(arguments: Sequence[str]) -> None:
    if not arguments:
        raise UserError("curves needs run folders: python launch.py curves RUN...")
    from jaxdl.commands import curves

    print(curves.draw_curves(arguments, FLAGS.output))


def _report(arguments: Sequence[str]) -> None:
    if FLAGS.gallery:
        if FLAGS.metric:
            raise UserError("--metric belongs to a report of runs; the gallery shows what is recorded")
        from jaxdl.commands import gallery
        from jaxdl.config.recipes import repository_root

        gallery.run(repository_root(), arguments, FLAGS.output)
        return
    if not arguments:
        raise UserError("report needs run folders, or folders that hold some: python launch.py report DIR...")
    from jaxdl.commands import report

    report.run(arguments, FLAGS.output, FLAGS.metric)


def _record(arguments: Sequence[str]) -> None:
    if not arguments:
        raise UserError("record needs run folders: python launch.py record RUN...")
    from jaxdl.config.recipes import repository_root
    from jaxdl.runs import ledger

    for run in arguments:
        for row in ledger.record(run, repository_root()):
            print(f"{row.recipe}, seed {row.seed}: {row.metric} {row.value:g} on {row.split}, {row.minutes:g} min")


def _plan(arguments: Sequence[str]) -> None:
    _no_more(arguments, "plan")
    if not FLAGS.topology:
        raise UserError("plan needs --topology=KIND:SHAPE, such as v5e:16x16, h100:1x8 or cpu:8")
    from jaxdl.commands import plan

    plan.run(_config(), FLAGS.set, FLAGS.topology, FLAGS.shape, FLAGS.search)


def _sweep(arguments: Sequence[str]) -> None:
    _no_more(arguments, "sweep")
    from jaxdl.commands import sweep
    from jaxdl.launchers import Options

    more = dict(text.partition("=")[::2] for text in FLAGS.launch)
    options = Options(FLAGS.slots, FLAGS.retries, FLAGS.output, more)
    if FLAGS.trials or FLAGS.space:
        if FLAGS.grid or FLAGS.dry_run or FLAGS.launcher != "local" or not FLAGS.trials:
            raise UserError("a search has --trials=N and --space, no --grid, no --dry_run, and runs on this machine")
        from jaxdl.commands import search

        search.run(_config(), FLAGS.set, FLAGS.space, FLAGS.trials, FLAGS.workdir, FLAGS.metric, options)
        return
    sweep.run(_config(), FLAGS.set, FLAGS.grid, FLAGS.workdir, FLAGS.launcher, options, FLAGS.dry_run)


def _reproduce(arguments: Sequence[str]) -> None:
    from jaxdl.commands import reproduce

    reproduce.run(_one(arguments, "reproduce", "RUN"), FLAGS.output, FLAGS.dry_run)


def _data(arguments: Sequence[str]) -> None:
    _no_more(arguments, "data")
    from jaxdl.data.store import catalog
    from jaxdl.data.store.pretrained import WEIGHTS, pretrained

    if FLAGS.prepare:
        make = pretrained if FLAGS.prepare in WEIGHTS else catalog.prepare
        make(FLAGS.prepare)
    print(catalog.as_text(catalog.catalog()))


COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "train": _train,
    "eval": _eval,
    "predict": _predict,
    "explain": _explain,
    "export": _export,
    "show": _show,
    "plan": _plan,
    "sweep": _sweep,
    "reproduce": _reproduce,
    "list": _list,
    "diff": _diff,
    "curves": _curves,
    "report": _report,
    "record": _record,
    "data": _data,
}


def _config() -> str:
    if not FLAGS.config:
        raise UserError("--config=RECIPE is missing; python launch.py list shows the recipes")
    return FLAGS.config


def _one(arguments: Sequence[str], command: str, what: str) -> str:
    if len(arguments) != 1:
        raise UserError(f"{command} takes one {what}, got {len(arguments)}: python launch.py {command} {what}")
    return arguments[0]


def _no_more(arguments: Sequence[str], command: str) -> None:
    if arguments:
        raise UserError(f"{command} takes no argument '{arguments[0]}'; python launch.py --help shows how it is used")


def main(argv: Sequence[str]) -> int:
    """Runs one command and returns the exit code."""
    if FLAGS.format not in ("text", "json"):
        raise UserError(f"--format={FLAGS.format} is unknown; {nearest(FLAGS.format, ('text', 'json'))}")
    logging.set_verbosity(logging.WARNING)
    name, arguments = (argv[1], argv[2:]) if len(argv) > 1 else ("train", [])
    if name not in COMMANDS:
        raise UserError(f"unknown command '{name}'; {nearest(name, COMMANDS)}")
    if name == "train" and _place().several and WATCHED not in os.environ:
        from jaxdl.distributed.watchdog import watch

        return watch([sys.executable, *sys.orig_argv[1:]])
    configure(FLAGS.cpu_devices, FLAGS.deterministic)
    COMMANDS[name](arguments)
    return 0


def launch(argv: Sequence[str]) -> int:
    """`main`, with mistakes told in one line."""
    from jaxdl.training.interrupt import NonFinite, Preempted

    try:
        return main(argv)
    except UserError as error:
        if FLAGS.debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Preempted as stopped:
        print(f"stopped: {stopped}", file=sys.stderr)
        return 75
    except Failed as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    except NonFinite as error:
        print(f"stopped: {error}; the last good checkpoint is kept", file=sys.stderr)
        return 1


def parse(argv: Sequence[str]) -> list[str]:
    """absl's flags; an unknown or ill-formed one is a mistake in one line like any other."""
    try:
        return FLAGS(list(argv), known_only=False)
    except flags.Error as error:
        print(f"error: {' '.join(str(error).split())}; python launch.py --help shows all flags", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    end_with_parent()
    huge_pages()
    app.run(launch, flags_parser=parse)
