"""Seal of a run folder, seal.json: SHA-256 of the files that a result depends on.

Every sealed file is written and read through `Seal`, so that a changed bit is an error and never another number.
Checkpoints contain their digests (`jaxdl.training.checkpoint`). Of metrics.jsonl, to which training appends, the lines
before the newest checkpoint are sealed, and all when the run is finished. Pictures and TensorBoard events are not.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from jaxdl.data.store.prepared import digest_of
from jaxdl.errors import UserError, write_errors
from jaxdl.runs.files import utf8, write_atomically

NAME = "seal.json"
MISSING, CHANGED, UNSEALED, UNREADABLE = "missing", "changed or damaged", "not sealed", "unreadable"


class Seal:
    """Digests of the sealed files of a folder.

    The digest is written before the file, beside that of the content which the file replaces. A process that is killed
    between both leaves a valid folder.

    Args:
      folder: Run folder.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.path = self.folder / NAME

    def write(self, name: str, content: str | bytes) -> None:
        """Seals and writes a file atomically.

        Args:
          name: Path in the folder, such as "tokenizers/text.json".
          content: Content of the file.

        Raises:
          UserError: The folder cannot be written, or seal.json is damaged.
        """
        digests, path = self._load(), self.folder / name
        accepted = [_sha256(content)]
        if path.is_file() and (old := _sha256(path.read_bytes())) in digests.get(name, []) and old not in accepted:
            accepted.append(old)
        if digests.get(name) != accepted:
            self._save({**digests, name: accepted})
        write_atomically(path, content)

    def read(self, name: str) -> str:
        """Returns the content of a sealed file.

        Raises:
          UserError: The file does not have its digest or is not UTF-8, or the seal is missing or damaged.
          FileNotFoundError: The file does not exist.
        """
        content, intact = self._read(name)
        if intact:
            return content.decode()
        problem = "does not have the SHA-256 in seal.json" if self.path.exists() else "has no seal.json beside it"
        raise UserError(
            f"{self.folder / name} {problem}: it was changed or damaged after it was written; restore it from a copy,"
            f" or accept it with: jaxdl verify {self.folder} --accept"
        )

    def add(self, name: str, grows: bool = False) -> None:
        """Seals an existing file as it is; of a file that grows, the present content only."""
        content = self._content(name)
        self._save({**self._load(), name: [f"{len(content)}:" * grows + _sha256(content)]})

    def release(self, name: str) -> None:
        """Ends the seal of a file, which will be written to."""
        digests = self._load()
        if digests.pop(name, None) is not None:
            self._save(digests)

    def remove(self, name: str) -> None:
        """Deletes a sealed file, if it exists."""
        self._delete(name)
        self.release(name)

    def _delete(self, name: str) -> None:
        path = self.folder / name
        with write_errors(path):
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            else:
                path.unlink(missing_ok=True)

    def problems(self, names: list[str]) -> dict[str, str]:
        """Returns {file: `MISSING`, `CHANGED`, `UNSEALED` or `UNREADABLE`} for the sealed files and `names`.

        Without a seal.json, that is the only problem.

        Raises:
          UserError: seal.json is damaged.
        """
        digests = self._load()
        if names and not os.path.lexists(self.path):
            return {NAME: MISSING}
        problems = {}
        for name in sorted({*digests, *names}):
            try:
                _, intact = self._read(name)
            except FileNotFoundError:
                intact, problem = name not in digests, MISSING
            except UserError:
                intact, problem = False, UNREADABLE
            else:
                problem = CHANGED if name in digests else UNSEALED
            if not intact:
                problems[name] = problem
        return problems

    def restore(self, name: str, content: str) -> bool:
        """Writes the content of a damaged file that was derived again; returns whether it has the sealed digest."""
        sealed = _sha256(content) in self._load().get(name, [])
        if sealed:
            self._delete(name)
            write_atomically(self.folder / name, content)
        return sealed

    def accept(self, names: list[str]) -> None:
        """Seals the files `names` as they are, in place of a damaged or outdated seal.json."""
        self._save({name: [_sha256(self._content(name))] for name in names})

    def _read(self, name: str) -> tuple[bytes, bool]:
        """Returns the content of a file, and whether it has its digest."""
        content = b""
        for attempt in range(3):  # another process may replace the file between both reads
            accepted = self._load().get(name, [])
            content = self._content(name)
            if any(_has(content, digest) for digest in accepted):
                return content, True
            if not accepted and attempt:
                break
        return content, False

    def _content(self, name: str) -> bytes:
        path = self.folder / name
        try:
            return path.read_bytes()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}; restore it from a copy") from error

    def _load(self) -> dict[str, list[str]]:
        if not os.path.lexists(self.path):
            return {}
        if (files := _parse(self._content(NAME))) is not None:
            return files
        raise UserError(
            f"{self.path} is damaged; check the run and write a new one with: jaxdl verify {self.folder} --accept"
        )

    def _save(self, files: Mapping[str, list[str]]) -> None:
        write_atomically(self.path, _serialize(files))


def accepting(seal: bytes, contents: Mapping[str, bytes]) -> bytes:
    """Returns a seal.json that also accepts other contents of its files, which are replaced one after the other.

    Args:
      seal: Content of seal.json. One that is damaged is returned as it is.
      contents: Other contents by file; files that are not sealed are ignored.
    """
    if (files := _parse(seal)) is None:
        return seal
    others = {name: [_sha256(content)] for name, content in contents.items()}
    accepted = {name: list(dict.fromkeys([*digests, *others.get(name, [])])) for name, digests in files.items()}
    return _serialize(accepted).encode()


def _parse(content: bytes) -> dict[str, list[str]] | None:
    """Returns the digests in a seal.json, None if it is damaged."""
    try:
        saved = json.loads(content)
        return saved["files"] if saved["sha256"] == digest_of(saved["files"]) else None
    except (ValueError, KeyError, TypeError):
        return None


def _serialize(files: Mapping[str, list[str]]) -> str:
    return json.dumps({"files": files, "sha256": digest_of(files)}, indent=2) + "\n"


def _has(content: bytes, digest: str) -> bool:
    """Returns whether a content, or its beginning for "SIZE:SHA-256", has a digest."""
    size, _, sha256 = digest.rpartition(":")
    return _sha256(content[: int(size)] if size else content) == sha256


def _sha256(content: str | bytes) -> str:
    return hashlib.sha256(utf8(content)).hexdigest()
