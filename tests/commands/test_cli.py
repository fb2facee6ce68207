"""Command line: help, flags of each command, arguments and exit codes."""

import importlib
import io
import itertools
import json
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import jaxdl.commands
from jaxdl.commands.cli import commands, escape_output, main, parse
from jaxdl.commands.flags import GLOBAL, Flag
from jaxdl.config.recipes import repository_root
from jaxdl.errors import UserError, nearest

COMMANDS = commands()
FLAGS = {flag.name: flag for command in COMMANDS.values() for flag in command.flags}
REFUSED = [
    (command, flag)
    for command, flag in itertools.product(COMMANDS, FLAGS)
    if flag not in {taken.name for taken in COMMANDS[command].flags}
]
MINIMAL = {
    "train": "--config=x",
    "eval": "RUN",
    "predict": "RUN FILE",
    "explain": "RUN FILE",
    "export": "RUN --output=DIR",
    "show": "--config=x",
    "plan": "--config=x --topology=cpu:8",
    "sweep": "--config=x",
    "verify": "RUN",
    "reproduce": "RUN",
    "list": "",
    "diff": "RUN RUN",
    "curves": "RUN",
    "report": "DIR",
    "record": "RUN",
    "data": "",
}


def refusal(capsys, *words: str) -> str:
    """Returns the only line of a usage error."""
    assert main(words) == 2
    output = capsys.readouterr()
    assert not output.out
    (line,) = output.err.splitlines()
    assert line.startswith("error: ")
    return line.removeprefix("error: ")


def value_of(flag: Flag) -> str:
    return "" if flag.kind is bool else f"={flag.choices[0] if flag.choices else '3'}"


def test_the_source_of_each_module_declares_its_command():
    modules = [module.name for module in pkgutil.iter_modules(jaxdl.commands.__path__)]
    imported = [importlib.import_module(f"jaxdl.commands.{name}") for name in modules]
    declared = {module.COMMAND.name: module.COMMAND for module in imported if hasattr(module, "COMMAND")}
    assert declared == COMMANDS
    assert all(hasattr(module, "main") for module in imported if hasattr(module, "COMMAND"))


@pytest.mark.parametrize("form", [["launch.py"], ["-m", "jaxdl"]])
def test_help_lists_the_commands_and_exit_codes_without_importing_jax(form):
    code = f"import runpy, sys; sys.argv = {[*form, '--help']}[-2:]\ntry:\n  "
    code += "runpy.run_module('jaxdl', run_name='__main__')" if form[0] == "-m" else "import launch; launch.launch()"
    code += "\nexcept SystemExit as stop:\n  assert not stop.code\nassert 'jax' not in sys.modules"
    text = subprocess.run([sys.executable, "-c", code], cwd=repository_root(), capture_output=True, text=True)
    assert text.returncode == 0, text.stderr
    lines = [line.split() for line in text.stdout.splitlines()]
    assert {line[0] for line in lines if line} >= {*COMMANDS, "0", "1", "2", "75", "76"}
    assert "jaxdl COMMAND --help" in text.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_describes_its_flags_only(name, capsys):
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    command = COMMANDS[name]
    listed = {line.split("=")[0].strip().split()[0] for line in text.splitlines() if line.startswith("  --")}
    names = {f"--{flag.name}" for flag in (*command.flags, *GLOBAL)} - {"--deterministic"} | {"--nodeterministic"}
    assert listed == names
    assert f"usage: jaxdl {name}" in text
    assert command.example in text
    assert main(["--help", name]) == 0
    assert capsys.readouterr().out == text


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_parse(name):
    program, word, *words = COMMANDS[name].example.replace("'", "").split()
    assert (program, word) == ("jaxdl", name)
    parse(COMMANDS[name], words)


@pytest.mark.parametrize("name", COMMANDS)
def test_flags_may_precede_or_follow_the_command(name):
    required = MINIMAL[name].split()
    for flag in (*COMMANDS[name].flags, *GLOBAL):
        form = next((form for form in COMMANDS[name].forms() if flag.name in form.names), None)
        words = required
        if form is not None:
            words = ["X" for word in form.arguments if word[0] != "["]
            words += [f"{word.split('=')[0]}=3" if "=" in word else word for word in form.flags]
            words = [word for word in words if not word.startswith(f"--{flag.name}")]
        for line in ([f"--{flag.name}{value_of(flag)}", *words], [*words, f"--{flag.name}{value_of(flag)}"]):
            arguments, values = parse(COMMANDS[name], line)
            assert arguments == [word for word in words if not word.startswith("-")]
            assert values[flag.name].present


@pytest.mark.parametrize(("name", "flag"), REFUSED)
def test_a_flag_of_another_command_is_refused(name, flag, capsys):
    line = refusal(capsys, name, *MINIMAL[name].split(), f"--{flag}{value_of(FLAGS[flag])}")
    assert line.startswith(f"{name} does not take --{flag}; ")
    hint = line.partition("; ")[2]
    accepted = {f"--{declared.name}" for declared in COMMANDS[name].flags} | {
        f"--{declared.name}" for declared in GLOBAL
    }
    takers = {owner.name for owner in COMMANDS.values() if any(declared.name == flag for declared in owner.flags)}
    if hint.startswith("use "):
        assert hint.removeprefix("use ").split("=")[0] in accepted
    elif hint.startswith("give "):
        assert hint.split()[1] in COMMANDS[name].usage
    else:
        assert set(hint.replace(",", "").split()) - {"and", "do", "does"} == takers


HINTS = {
    "train --seed=3": "train does not take --seed; use --set=seed=3",
    "eval RUN --seed 3": "eval does not take --seed; use --set=seed=VALUE",
    "list --seed=3": "list does not take --seed; predict does",
    "train --step=100": "train does not take --step; use --set=steps=100",
    "train --output=runs/a": "train does not take --output; use --workdir=runs/a",
    "reproduce RUN --grid=seed=1,2": "reproduce does not take --grid; sweep does",
    "eval --workdir=runs/a": "eval does not take --workdir; give RUN as an argument: jaxdl eval RUN ",
    "train --samples=4": "train does not take --samples; predict does",
    "train --steps=100": "train does not take --steps; use --set=steps=100",
    "train --learning-rate=0.1": "train does not take --learning_rate; use --set=learning_rate=0.1",
    "train --wrkdir=a": "train does not take --wrkdir; did you mean --workdir?",
    "list --fromat=json": "list does not take --fromat; did you mean --format?",
    "list --smaples=3": "list does not take --samples; predict does",
    "list --xyz": "list does not take --xyz; jaxdl list --help lists its flags",
    "lsit": "unknown command 'lsit'; did you mean 'list'? ",
    "experiments/cnn/digits.py": "unknown command 'experiments/cnn/digits.py'; train a recipe with --config=experi",
    "eval": "RUN is missing; usage: jaxdl eval RUN [--step=N]",
    "eval a b": "'b' is not expected; usage: jaxdl eval RUN",
    "diff a": "RUN is missing; usage: jaxdl diff RUN RUN",
    "plan --config=x": "--topology=KIND:SHAPE is missing; usage: jaxdl plan",
    "show": "RUN is missing; usage: jaxdl show --config=RECIPE",
    "list a": "'a' is not expected; usage: jaxdl list",
    "export RUN": "--output=DIR is missing; usage: jaxdl export",
    "predict RUN --text=a --samples=2": "--text and --samples exclude each other; usage: jaxdl predict",
    "predict RUN a --interactive": "'a' is not expected; usage: jaxdl predict",
    "eval RUN --step=ten": "--step=ten is not an integer of at least 0; write --step=N",
    "eval RUN --step=-1": "--step=-1 is not an integer of at least 0; write --step=N",
    "plan --config=x --topology=cpu:1 --search=maybe": "--search=maybe is not true or false; write --search",
    "curves a --output=c.html": "--output=c.html is not a PNG file; write --output=c.png",
    "sweep --config=experiments/cnn/digits.py --grid=seed=0..99999999": "--grid has 100,000,000 runs, more ",
    "train --config=x --workdir=": "--workdir= is empty; write --workdir=DIR, or drop it",
    "train --config=x --nodeterministic=no": "--nodeterministic=no does not take an argument; jaxdl train --help",
    "sweep --config=x --slots=0": "--slots=0 is not an integer of at least 1",
    "sweep --config=x --launch=image": "--launch=image has no value; write --launch=NAME=VALUE",
    "sweep --config=x --launch=gpus=2": "--launch=gpus=... is not a setting of local; names that exist: (none)",
    "sweep --config=x --launcher=kubernetes --launch=image=a --launch=grace=soon": "--launch=grace=soon is not a numb",
    "sweep --config=x --output=a.sh": "--output is not written by --launcher=local; drop it",
    "sweep --config=x --workdir=launch.py": "--workdir=launch.py is not a folder; name the parent folder of the runs",
    "predict RUN --samples=1000000000": "--samples=1000000000 is more than 100,000; draw them in several calls",
    "predict RUN a --output=launch.py": "launch.py exists and was not written by this command; remove it or name",
    "plan --config=experiments/cnn/digits.py --topology=cpu:8 --shape=99999,99999,3": "--shape=99999,99999,3 has 29",
    "data --prepare=tfds:../x": "data set 'tfds:../x' does not exist; ",
    "data --prepare=../../etc": "data set '../../etc' does not exist; ",
    "eval RUN --step": "Missing value for flag --step",
    "list --format=yaml": "--format=yaml is unknown; names that exist: json, text",
    "sweep --config=x --launcher=slrm": "--launcher=slrm is unknown; did you mean 'slurm'",
    "sweep --config=x --space=a=1,2": "--space, --metric and --pruner need --trials=N",
    "sweep --config=x --trials=2 --space=a=1,2 --dry-run": "a search (--trials) chooses its settings; drop --grid",
}


@pytest.mark.parametrize("words", HINTS)
def test_a_usage_error_suggests_a_fix(words, capsys):
    assert refusal(capsys, *words.split()).startswith(HINTS[words])


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("predict", "RUN", ""), "an argument is empty; usage: jaxdl predict RUN"),
        (("eval", "a\0b"), r"the argument 'a\x00b' has a NUL character; remove it"),
        (("eval", "a\nb\x1b[31m"), r"a\nb\x1b[31m does not exist; "),
    ],
)
def test_a_message_is_one_line_without_control_characters(words, problem, capsys):
    assert refusal(capsys, *words).startswith(problem)


def test_a_path_that_the_system_refuses_is_one_line(capsys):
    assert "File name too long" in refusal(capsys, "train", f"--config=/{'a' * 300}.py")


def test_a_recipe_that_ends_the_program_is_an_error(capsys, tmp_path):
    (tmp_path / "ending.py").write_text("raise SystemExit(0)\n")
    assert "ending.py:1: SystemExit: 0" in refusal(capsys, "show", f"--config={tmp_path / 'ending.py'}")


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("XLA_FLAGS", "--xla_no_such_flag=1", "XLA_FLAGS has --xla_no_such_flag=1, which the installed jaxlib"),
        ("JAX_ENABLE_X64", "perhaps", "JAX does not start: invalid truth value 'perhaps' for environment"),
    ],
)
def test_an_environment_variable_that_jax_refuses_is_one_line(name, value, problem):
    process = subprocess.run(
        [sys.executable, "launch.py", "eval", "nothing"],
        cwd=repository_root(),
        env={**os.environ, name: value},
        capture_output=True,
        text=True,
    )
    assert (process.returncode, process.stdout) == (2, "")
    (line,) = process.stderr.splitlines()
    assert line.startswith(f"error: {problem}")


def test_the_command_may_follow_flags_and_train_is_the_default(capsys):
    assert "no file 'nothing.py'" in refusal(capsys, "--config", "nothing.py")
    assert "no file 'nothing.py'" in refusal(capsys, "--config", "nothing.py", "show")
    assert "nowhere does not exist" in refusal(capsys, "--step", "3", "eval", "nowhere", "--cpu-devices=8")


def test_paths_expand_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    _, values = parse(COMMANDS["train"], ["--config=~/a.py", "--workdir=~/runs/a", "--set=start.run=~/b"])
    assert (values.config, values.workdir, values.set) == ("/home/me/a.py", "/home/me/runs/a", ["start.run=~/b"])
    arguments, values = parse(COMMANDS["predict"], ["~/run", "a.png", "--pictures=~/p", "--output", "~/o"])
    assert (arguments, values.pictures, values.output) == (["/home/me/run", "a.png"], "/home/me/p", "/home/me/o")


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[2J", "a\udcff", "n" * 300, "d/" * 3000, "~unknown-user/a", "loop.py"])
@pytest.mark.parametrize("words", [["eval"], ["verify"], ["report"], ["show", "--config"], ["train", "--config"]])
def test_unusual_paths_are_refused_in_one_printable_line(words, name, capsys, tmp_path, monkeypatch):
    (tmp_path / "loop.py").symlink_to("loop.py")
    monkeypatch.chdir(tmp_path)
    assert refusal(capsys, *words, name).isprintable()


def test_a_deleted_current_folder_or_an_unknown_home_is_refused(capsys, tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert refusal(capsys, "list") == "the current folder was deleted; change to another one"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAXDL_DATA", "~unknown-user/data")
    assert "the home folder in ~unknown-user/data is unknown; set HOME" in refusal(capsys, "data")


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_output_that_cannot_be_encoded_is_escaped_as_in_json(encoding, monkeypatch):
    text = 'a\udcff ä 😀 "'
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
    monkeypatch.setattr(sys, "stdout", stream)
    escape_output()
    print(json.dumps(text, ensure_ascii=False))
    assert json.loads(stream.buffer.getvalue().decode(encoding)) == text  # pyright: ignore


def test_a_reader_that_ends_early_causes_no_traceback():
    code = "import sys; from jaxdl.commands.cli import main; sys.exit(main(['show', '--config=tests/survivor.py']))"
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=repository_root(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device")
def test_a_full_device_of_the_output_is_one_line():
    with open("/dev/full", "w") as full:
        command = [sys.executable, "launch.py", "--help"]
        process = subprocess.run(command, cwd=repository_root(), stdout=full, stderr=subprocess.PIPE, text=True)
    assert process.returncode == 2
    assert process.stderr == "error: cannot write the output: No space left on device\n"


@pytest.mark.parametrize(("count", "end"), [(5, "names that exist: n0, n1, n2, n3, n4"), (9, " and 4 more")])
def test_hints_list_at_most_five_names(count, end):
    hint = nearest("n0", [f"n{number}" for number in range(count)])
    assert hint.startswith("did you mean 'n0'? ")
    assert hint.endswith(end)
    assert hint.count(",") == 4


def test_repeated_flags_and_lists():
    _, values = parse(COMMANDS["train"], ["--config=x", "--set=a=1", "--set", "b=2", "--allow=a,b"])
    assert values.set == ["a=1", "b=2"]
    with pytest.raises(UserError, match="Missing value"):
        parse(COMMANDS["train"], ["--config"])
