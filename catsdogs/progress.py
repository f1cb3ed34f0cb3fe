"""How long work reports its progress."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with the step, the units done and the units in all, which is 0 where nobody knows. It must return at once."""
