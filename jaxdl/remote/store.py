"""Object store: listing, reading and writing of the objects below a URL, with errors of one line."""

import importlib.util
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from jaxdl.errors import UserError, check_packages, nearest
from jaxdl.home import as_url

_PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "memory": "fsspec"}
_CLOUD = ("fsspec", "s3fs", "gcsfs")  # packages of the extra "cloud"
_CREDENTIALS = {
    "s3": "check the credentials and the endpoint (AWS_PROFILE, AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL)",
    "gs": "check the credentials (GOOGLE_APPLICATION_CREDENTIALS, or gcloud auth application-default login)",
}
# Fields of a listing that change with the content, in the order of preference, of different stores.
_TAGS = ("ETag", "etag", "md5Hash", "generation", "content_md5", "LastModified", "last_modified", "updated", "created")
_TIMES = ("LastModified", "last_modified", "updated", "created")


class Object(NamedTuple):
    """Object in a listing.

    Attributes:
      size: Bytes.
      tag: Text that changes with the content: ETag, checksum or generation.
      modified: Time of its upload, ns since 1970. None if the store does not report it.
    """

    size: int
    tag: str
    modified: int | None = None


class Store:
    """Objects below a URL, by their names relative to it; an object at the URL itself has the name "".

    Every method raises UserError if the store cannot be reached or refuses the access.

    Args:
      url: URL, such as "s3://bucket/runs/digits".

    Raises:
      UserError: The scheme is unknown, or its package is not installed.
    """

    def __init__(self, url: str):
        self.url = as_url(url)
        self._scheme, _, self._root = self.url.partition("://")
        package = _PACKAGES.get(self._scheme)
        if package is None:
            known = nearest(self._scheme, ("s3", "gs", "az"))
            raise UserError(f"{url}: the scheme '{self._scheme}' is not supported; {known}; or give a local path")
        if package in _CLOUD:
            check_packages({"fsspec": "cloud", package: "cloud"}, f"{self._scheme}://")
        elif importlib.util.find_spec(package) is None:
            raise UserError(f"{self._scheme}:// needs {package}: pip install {package}")
        import fsspec

        with self._errors("reach"):
            self._fs: Any = fsspec.filesystem(self._scheme, use_listings_cache=False, skip_instance_cache=True)
        logging.getLogger(package).setLevel(logging.CRITICAL)  # of errors with tracebacks, which are raised as well

    def list(self) -> dict[str, Object]:
        """Returns all objects at and below the URL.

        Raises:
          UserError: The bucket does not exist, or a name is not that of a file, such as "a//b".
        """
        with self._errors("read"):
            try:
                details = self._fs.find(self._root, detail=True)
            except FileNotFoundError:
                if self._scheme == "memory":
                    return {}
                raise
        objects = {}
        for key, detail in details.items():
            name = key.lstrip("/")[len(self._root) + 1 :]
            if detail.get("type") == "directory" or key.endswith("/"):
                continue  # some tools mark folders by empty objects
            if name and not {"", ".", ".."}.isdisjoint(name.split("/")):
                raise UserError(f"{self.url}/{name} is not the path of a file; rename the object")
            tag = next((str(detail[field]) for field in _TAGS if detail.get(field)), "")
            objects[name] = Object(int(detail["size"]), tag, _modified(detail))
        return objects

    def get(self, name: str, path: Path) -> None:
        """Downloads an object to a file. Raises FileNotFoundError if the object does not exist."""
        with self._errors("read", missing=True):
            self._fs.get_file(self._key(name), str(path))

    def read(self, name: str) -> bytes | None:
        """Returns the content of an object, None if it does not exist."""
        try:
            with self._errors("read", missing=True):
                return self._fs.cat_file(self._key(name))
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """Writes an object; a reader gets the old or the new content."""
        with self._errors("write"):
            self._fs.pipe_file(self._key(name), content)

    def put(self, path: Path, name: str) -> None:
        """Uploads a file. Raises FileNotFoundError if the file does not exist."""
        with path.open("rb"), self._errors("write"):
            self._fs.put_file(str(path), self._key(name))

    def remove(self, names: Iterable[str]) -> None:
        """Deletes objects in their order; one that does not exist is ignored."""
        for name in names:
            try:
                with self._errors("write", missing=True):
                    self._fs.rm_file(self._key(name))
            except FileNotFoundError:
                continue

    def _key(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    @contextmanager
    def _errors(self, verb: str, missing: bool = False) -> Iterator[None]:
        """Turns the exceptions of stores, which have no common type, into UserError.

        Args:
          verb: Verb of the message.
          missing: Whether FileNotFoundError passes: an object may be absent.
        """
        try:
            yield
        except Exception as error:
            if missing and isinstance(error, FileNotFoundError):
                raise
            cause = " ".join(str(error).split())[:300] or type(error).__name__
            remedy = _CREDENTIALS.get(self._scheme, "check the credentials")
            if isinstance(error, FileNotFoundError):
                remedy = "create the bucket, or correct the URL"
            raise UserError(f"cannot {verb} {self.url}: {cause}; {remedy}") from error


def _modified(detail: Mapping[str, Any]) -> int | None:
    """Returns the time of the last upload in a listing, a datetime, ISO 8601 or seconds, in ns since 1970."""
    value = next((detail[field] for field in _TIMES if detail.get(field)), None)
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        value = value.timestamp()
    return None if value is None else int(value) * 10**9
