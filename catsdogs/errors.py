"""The error that a user can cause and fix: what happened, and what to do."""

from unicodedata import category


class CatsDogsError(Exception):
    """Something a user can cause and mend.

    Parameters
    ----------
    message : str
        Names the thing and the finding, without a full stop at its end.
    hint : str
        Says what to do, without a full stop at its end.
    """

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return printable(f"{self.message}. {self.hint}.")


def is_printable(text: str) -> bool:
    """Whether a terminal, a CSV and a page can show every character as it is.

    They can show letters, marks, numbers, punctuation, symbols and spaces of every script, and the zero-width joiner
    and non-joiner, without which Persian, the scripts of India and many emoji cannot be written (RFC 5892, A.1, A.2).
    All else that is invisible is not shown: controls, line ends, the other format characters, some of which reverse
    what stands beside them (CVE-2021-42574), and code points that are not assigned or not characters.
    """
    return text.isprintable() or all(
        character.isprintable() or character in "\u200c\u200d" or category(character) == "Zs" for character in text
    )


def printable(text: str) -> str:
    r"""Return `text` with every character that cannot be shown (see `is_printable`) as the ``\xNN`` of its bytes.

    Names of files come from strangers: they may hold escape codes, line ends and bytes that are not UTF-8
    (which Python keeps as surrogates).
    """
    if is_printable(text):
        return text
    return "".join(character if is_printable(character) else escape(character) for character in text)


def escape(text: str) -> str:
    r"""Return the bytes of `text`, each as ``\xNN``."""
    try:
        content = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half of a pair of surrogates, which is in no file's name but may be in JSON
        content = text.encode("utf-8", "surrogatepass")
    return "".join(f"\\x{byte:02x}" for byte in content)
