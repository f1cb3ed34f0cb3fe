"""The error that a user can cause and fix: what happened, and what to do."""


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


def printable(text: str) -> str:
    r"""Return `text` with every character that no terminal should be sent as the ``\xNN`` of its bytes.

    Names of files come from strangers: they may hold escape codes, line ends and bytes that are not UTF-8
    (which Python keeps as surrogates).
    """
    if text.isprintable():
        return text
    return "".join(
        character
        if character.isprintable()
        else "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))
        for character in text
    )
