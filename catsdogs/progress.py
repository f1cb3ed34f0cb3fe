"""How long work reports its progress."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with the step, the units done and the units in all, which is 0 where nobody knows. It must return at once."""


def tell(progress: Progress | None, step: str, done: int, total: int) -> None:
    """Report progress to whoever wants to know of it."""
    if progress:
        progress(step, done, total)
