"""Random damage to run folders and prepared data, and its classification.

Every mutation damages one file of a copy of `Scene` and is followed by commands. A command either names the damaged
file, or its output is that of the intact scene; everything else is a fault.
"""

import contextlib
import io
import json
import os
import random
import shutil
import signal
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

from jaxdl.commands import cli
from jaxdl.runs import manifest
from jaxdl.training.session import Session

KINDS = ("bit", "bytes", "truncate", "empty", "delete", "directory", "unreadable", "self-link")
HARMLESS, NOTICED = "harmless", "noticed"
SILENT, UNNAMED, TRACEBACK, HANG = "silent", "unnamed", "traceback", "hang"
OUTCOMES = (NOTICED, HARMLESS, UNNAMED, SILENT, TRACEBACK, HANG)  # from the best to the worst
_SECONDS = 300  # limit of a command, of wall time on a machine that may be busy


class Mutation(NamedTuple):
    """Damage to one file.

    Attributes:
      kind: One of `KINDS`.
      file: Path relative to the scene.
      seed: Seed of the place and the new content.
    """

    kind: str
    file: str
    seed: int

    def apply(self, root: Path) -> None:
        """Damages the file below `root`."""
        path, draw = root / self.file, random.Random(self.seed)
        content, written = bytearray(path.read_bytes()), path.stat().st_mtime_ns
        if self.kind in ("bit", "bytes", "truncate", "empty"):
            path.write_bytes(_damaged(content, self.kind, draw))
            os.utime(path, ns=(written, written))  # a disk that fails leaves it
        elif self.kind == "unreadable":
            path.chmod(0)
        else:
            path.unlink()
            if self.kind == "directory":
                path.mkdir()
            elif self.kind == "self-link":
                path.symlink_to(path.name)


def _damaged(content: bytearray, kind: str, draw: random.Random) -> bytes:
    place = draw.randrange(len(content)) if content else 0
    if kind == "bit" and content:
        content[place] ^= 1 << draw.randrange(8)
    elif kind == "bytes":
        size = draw.randint(1, 32)
        content[place : place + size] = draw.randbytes(size)
    return bytes(content[:place] if kind == "truncate" else b"" if kind == "empty" else content)


class Result(NamedTuple):
    """Outcome of one command after a mutation.

    Attributes:
      command: Name of the command.
      outcome: One of `OUTCOMES`.
      text: Output of the command, for messages.
    """

    command: str
    outcome: str
    text: str


class Scene:
    """Finished runs of three seeds, a killed run of the first seed, and their prepared data.

    Args:
      root: Folder. It is created, and the runs are trained, if it does not exist.
      recipe: Recipe of a few steps that saves and evaluates at half of them.
      inputs: Arguments of `predict` after the run, with {root} for the folder.
    """

    def __init__(self, root: Path, recipe: str, inputs: Sequence[str]):
        self.root, self.recipe, self.inputs = root, recipe, inputs
        if not root.is_dir():
            self._train()
        self._outputs: dict[str, Any] = {}

    def _train(self) -> None:
        with _environment(self.root):
            for seed, name in enumerate("abc"):
                _quiet(f"--config={self.recipe}", f"--set=seed={seed}", f"--workdir={self.root / 'runs' / name}")
            for name in "ab":
                again = Path(shutil.copytree(self.root / "runs" / name, self.root / "again" / name))
                _quiet("reproduce", str(self.root / "runs" / name), f"--output={again}")
            with _killed_after_first_save():
                _quiet(f"--config={self.recipe}", f"--workdir={self.root / 'killed' / 'a'}")
        for other in ("runs/b", "runs/c", "again/a", "again/b"):  # of which no checkpoint is read
            shutil.rmtree(self.root / other / "checkpoints")

    @property
    def files(self) -> list[str]:
        """Files of a finished run, of the killed run and of the data home, relative to the root."""
        folders = ("runs/a", "killed/a", "data")
        paths = (path for folder in folders for path in sorted((self.root / folder).rglob("*")))
        return [path.relative_to(self.root).as_posix() for path in paths if path.is_file() and path.name != ".lock"]

    def draw(self, count: int, seed: int, kinds: Sequence[str] = KINDS) -> list[Mutation]:
        """Returns random mutations; every kind of file has the same share."""
        draw = random.Random(seed)
        by_kind: dict[str, list[str]] = {}
        for file in self.files:
            by_kind.setdefault(kind_of(file), []).append(file)
        chosen = [sorted(by_kind)[number % len(by_kind)] for number in range(count)]
        return [Mutation(draw.choice(kinds), draw.choice(by_kind[kind]), draw.randrange(2**32)) for kind in chosen]

    def test(self, mutation: Mutation, count: int | None = None) -> list[Result]:
        """Applies a mutation to a copy and runs the commands that read the file, or `count` random ones of them."""
        with self._copied() as copy:
            mutation.apply(copy)
            names = [name for name in self._commands(copy) if _related(name, mutation.file)]
            if count is not None:
                drawn = random.Random(mutation.seed).sample(names, min(count, len(names)))
                names = [name for name in names if name in drawn]  # a resumed run is no longer the killed one
            return [self._classify(name, mutation, self._run(name, copy)) for name in names]

    @contextlib.contextmanager
    def _copied(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(dir=self.root.parent) as folder:
            yield Path(shutil.copytree(self.root, Path(folder) / self.root.name))

    def _intact(self, name: str) -> Any:
        """Returns the numbers of a command on the intact scene."""
        if name not in self._outputs:
            with self._copied() as copy:
                code, text, self._outputs[name] = self._run(name, copy)
            if code != 0:
                raise RuntimeError(f"{name} ends with {code!r} on the intact scene: {text}")
        return self._outputs[name]

    def _commands(self, root: Path) -> dict[str, list[str]]:
        """Returns the words of each command."""
        runs, killed = root / "runs", root / "killed" / "a"
        inputs = [word.format(root=root) for word in self.inputs]
        commands: dict[str, list[str]] = {}
        for name, run in (("", runs / "a"), (" of the killed run", killed)):
            commands[f"verify{name}"] = ["verify", str(run), "--format=json"]
            commands[f"report{name}"] = ["report", str(run.parent), f"--output={root / 'report.html'}"]
            commands[f"eval{name}"] = ["eval", str(run), "--format=json"]
            commands[f"predict{name}"] = ["predict", str(run), *inputs, "--format=json"]
        commands["data"] = ["data"]
        commands["curves"] = ["curves", str(runs / "a"), str(runs / "b"), f"--output={root / 'curves.png'}"]
        commands["train"] = [f"--config={self.recipe}", f"--workdir={runs / 'a'}"]
        commands["resume"] = [f"--config={self.recipe}", f"--workdir={killed}"]
        for name in "ab":
            commands[f"reproduce {name}"] = ["reproduce", str(runs / name), f"--output={root / 'again' / name}"]
        return commands

    def _run(self, name: str, root: Path) -> tuple[Any, str, Any]:
        """Returns (exit code or exception, standard error, numbers) of a command."""
        with _environment(root):
            code, out, err = _captured(self._commands(root)[name])
        numbers: Any = out.replace(str(root), "ROOT")
        files = {"report": "report.csv", "resume": "killed/a/result.json", "train": "runs/a/result.json"}
        files |= {"reproduce a": "again/a/reproduction.json", "reproduce b": "again/b/reproduction.json"}
        if code == 0 and (file := files.get(name.removesuffix(" of the killed run"))):
            numbers = (root / file).read_text().replace(str(root), "ROOT")
            if name in ("resume", "train"):
                numbers = {key: json.loads(numbers)[key] for key in ("step", "metrics", "state_digest")}
        return code, f"{err}\n{out}" if code == 0 else err, numbers

    def _classify(self, name: str, mutation: Mutation, run: tuple[Any, str, Any]) -> Result:
        code, text, numbers = run
        named = any(word in text for word in _names(mutation.file))
        if isinstance(code, BaseException):
            outcome = HANG if isinstance(code, _Hang) else TRACEBACK
            text = "".join(traceback.format_exception(code))
        elif code in (1, 2):
            lines = [line for line in text.strip().splitlines() if not line.startswith(_IGNORED)]
            outcome = NOTICED if named and len(lines) == 1 else UNNAMED
        elif code == 0 and named:
            outcome = NOTICED
        else:
            outcome = HARMLESS if (code, numbers) == (0, self._intact(name)) else SILENT
            text += f"\n{numbers}\nexpected {self._intact(name)}" if outcome == SILENT else ""
        return Result(name, outcome, text)


_IGNORED = ("warning: ", "WARNING:absl", "preparing ", "prepared ", "commit: ")


def kind_of(file: str) -> str:
    """Returns the kind of a file of the scene, a row of the table."""
    where, *_ = parts = Path(file).parts
    name = Path(file).name
    if where == "data":
        if parts[1] == "tokenizers":
            return "data: tokenizer"
        suffix = ".npy" if name.endswith(".npy") else "records" if ".array_record" in name else name
        return f"data: {suffix}"
    if parts[2] == "checkpoints":
        if "record" in parts:
            return "checkpoint: record"
        named = name.startswith(("_", "manifest", "array_metadatas")) or "array_metadatas" in parts
        return "checkpoint: metadata" if named else "checkpoint: arrays"
    return parts[2] if parts[2] in ("tensorboard", "pictures", "tokenizers") else name


def _names(file: str) -> list[str]:
    """Returns the texts of which a message about a damaged file must contain one."""
    parts = Path(file).parts
    if parts[0] == "data":
        return [file.removeprefix("data/"), parts[1]] if parts[1] != "tokenizers" else [f"tokenizers/{parts[-1]}"]
    if parts[2] == "checkpoints":
        return [f"step {parts[3]}", f"checkpoints/{parts[3]}"] if len(parts) > 4 else ["checkpoints"]
    return [parts[-1]]


def _related(command: str, file: str) -> bool:
    """Returns whether a command opens the folder of a file, and none does so for the same purpose."""
    if file.startswith("data/"):
        return "killed run" not in command and command not in ("train", "curves", "reproduce b")
    return file.startswith("killed/") == ("killed run" in command or command == "resume")


class _Hang(BaseException):
    """A command took longer than the limit."""


class _Killed(BaseException):
    """A training process ended at once."""


def _captured(words: Sequence[str]) -> tuple[Any, str, str]:
    """Runs a command in this process; returns its exit code or exception, standard output and standard error."""
    out, err = io.StringIO(), io.StringIO()

    def stop(number: int, frame: Any) -> None:
        raise _Hang(f"{words[0]} took more than {_SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(_SECONDS)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code: Any = cli.main(words)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # classified
        code = error
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return code, out.getvalue(), err.getvalue()


def _quiet(*words: str) -> None:
    code, out, err = _captured(words)
    if code != 0 and not isinstance(code, _Killed):
        raise RuntimeError(f"{words} ended with {code!r}\n{out}\n{err}")


@contextlib.contextmanager
def _environment(root: Path) -> Iterator[None]:
    """Sets the data home, and draws no pictures, which take half of the time."""
    curves = mock.patch("jaxdl.viz.curves.learning_curves", return_value=np.zeros((1, 1, 3), np.uint8))
    data = mock.patch.dict(os.environ, JAXDL_DATA=str(root / "data"))
    with curves, data, mock.patch.object(Session, "_draw") if (root / "killed").is_dir() else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def _killed_after_first_save() -> Iterator[None]:
    """Ends training after its first checkpoint, as SIGKILL does: the attempt in the manifest stays open."""
    save = Session.save

    def save_and_end(session: Session, step: int, state: Any) -> None:
        save(session, step, state)
        session.checkpoints.wait()
        raise _Killed

    with mock.patch.object(Session, "save", save_and_end), mock.patch.object(manifest, "end_attempt"):
        yield
