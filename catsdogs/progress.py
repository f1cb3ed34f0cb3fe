"""Report the progress of long steps."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with the name of the step, the units done and the total, 0 if that is not known. It must return quickly."""


def tell(progress: Progress | None, step: str, done: int, total: int) -> None:
    """Call `progress`, if there is one."""
    if progress:
        progress(step, done, total)
