"""Define the errors that users can cause and fix; make texts printable, and free of the secrets in URIs."""

import re
from collections.abc import Callable
from typing import Any, TypeVar
from unicodedata import category

_Read = TypeVar("_Read")

_USER = re.compile(r"(?<=[\w+.-]:/)(/?)(?:[^/?#\s]*|[^/?#@:\s]*:(?!:|\d+/)\S*)@")
_QUERY = re.compile(r"\?(?!\*\*\*|(?:download=\w{1,5}|versionId=[\w.-]*)(?:$|[\s'\"]))\S+?(?=[)'\",.:;]*(?:\s|$))")
"""In a URI, the user and the password, even one with a slash that should be %2F, and the query, which may be a
signature or a token."""


class CatsDogsError(Exception):
    """An error that a user can cause and fix. Secrets of URIs are removed from its texts.

    Parameters
    ----------
    message : str
        What happened, with the name of the thing, without a final full stop.
    hint : str
        What to do, without a final full stop.
    """

    def __init__(self, message: str, hint: str) -> None:
        self.message, self.hint = redact(message), redact(hint)
        super().__init__(self.message, self.hint)

    def __str__(self) -> str:
        return printable(f"{self.message}. {self.hint}.")


class OptionError(CatsDogsError):
    """A parameter or an option has a value that is not valid; the program then exits with 2."""


class Problems(list[CatsDogsError]):
    """The errors of files that are read one after another, although some are damaged."""

    def check(self, read: Callable[..., _Read], *arguments: Any) -> _Read | None:
        """Return what `read` returns for the arguments; or keep its error, and return None."""
        try:
            return read(*arguments)
        except CatsDogsError as error:
            self.append(error)
            return None

    def texts(self) -> tuple[str, ...]:
        """Return each different error and its hint."""
        return tuple(dict.fromkeys(map(str, self)))


def redact(text: str) -> str:
    """Return `text` with ``***`` for the user, the password and the query of each URI, but a download or a version."""
    return _QUERY.sub("?***", _USER.sub(r"\1***@", text)) if ":/" in text else text


def redact_uri(uri: str) -> str:
    """Return `uri` without secrets as `redact` does, where spaces do not end a query; a path is returned as it is."""
    place, mark, query = uri.partition("?")
    return redact(place + mark + "+".join(query.split())) if "://" in place else uri


def is_printable(text: str) -> bool:
    """Return whether every character can be shown unchanged in a terminal, a CSV file and an HTML page.

    These are letters, marks, numbers, punctuation, symbols and spaces of every script, and the zero-width joiner and
    non-joiner, which Persian, the scripts of India and many emoji need (RFC 5892, A.1, A.2). Other invisible characters
    are not shown: controls, line ends, other format characters, some of which reverse the text beside them
    (CVE-2021-42574), and code points that are unassigned or not characters.
    """
    return text.isprintable() or all(
        character.isprintable() or character in "\u200c\u200d" or category(character) == "Zs" for character in text
    )


def printable(text: str) -> str:
    r"""Return `text` with every character that is not printable (see `is_printable`) as the ``\xNN`` of its bytes.

    File names are untrusted: they may contain escape codes, line ends and bytes that are not UTF-8 (which Python keeps
    as surrogates).
    """
    if is_printable(text):
        return text
    return "".join(character if is_printable(character) else escape(character) for character in text)


def escape(text: str) -> str:
    r"""Return `text` with each byte of its UTF-8 encoding written as ``\xNN``."""
    try:
        content = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a lone surrogate, which no file name has, but JSON may have
        content = text.encode("utf-8", "surrogatepass")
    return "".join(f"\\x{byte:02x}" for byte in content)
