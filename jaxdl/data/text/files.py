"""Text files and strings given by the user."""

import codecs
from collections.abc import Sequence
from pathlib import Path

from jaxdl.data.files import check_file
from jaxdl.data.source import as_text
from jaxdl.errors import UserError
from jaxdl.remote import local


def own_texts(files: Sequence[str], texts: Sequence[str]) -> list[tuple[str, str]]:
    """Returns the user's texts as (name, text): the given texts, then each file as one text.

    Raises:
      UserError: A file cannot be read or is not UTF-8, or there are no texts.
    """
    named = [(text, as_text(text.encode("utf-8", "surrogatepass"), "the text given")) for text in texts]
    named += [(file, read_file(file)) for file in files]
    if not named:
        raise UserError("no texts were given; pass text files, or texts with --text=...")
    return named


def own_lines(files: Sequence[str], texts: Sequence[str]) -> list[tuple[str, str]]:
    """Returns the texts and each non-empty line of the files, named FILE:LINE.

    Raises:
      UserError: As `own_texts`; a file is empty, or a table: it ends in .csv, or a line has a tab.
    """
    named = own_texts((), texts) if texts or not files else []
    for file in files:
        lines = read_file(file).split("\n")
        lines_of_file = [(f"{file}:{number}", line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
        if not lines_of_file:
            raise UserError(f"{file} is empty; write one text per line")
        table = next((name for name, line in lines_of_file if "\t" in line), None)
        if table or Path(file).suffix.lower() == ".csv":
            where = f"{table} has a tab" if table else f"{file} is a table"
            raise UserError(f"{where}; pass the texts alone, one per line")
        named += lines_of_file
    return named


def read_file(path: str | Path) -> str:
    """Reads a UTF-8 text file, without a byte order mark and with "\\n" line ends.

    Raises:
      UserError: The file cannot be read, is not UTF-8, or has NUL bytes, as UTF-16 without a byte order mark does.
    """
    path = local(path)
    check_file(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror}); pass a UTF-8 text file") from None
    if content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        raise UserError(f"{path} is UTF-16, not UTF-8; convert it: iconv -f UTF-16 -t UTF-8")
    if (position := content.find(b"\0")) >= 0:
        kind = {0: "UTF-16BE", 1: "UTF-16LE"}.get(position % 2 if 3 * content.count(b"\0") > len(content) else -1)
        hint = f"it may be {kind}: iconv -f {kind} -t UTF-8" if kind else "remove them, or convert it if it is UTF-16"
        raise UserError(f"{path} has NUL bytes (the first at byte {position}), which UTF-8 text has not; {hint}")
    return as_text(content, str(path)).removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
