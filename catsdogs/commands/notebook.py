"""Write the tutorial notebook into a folder."""

import os
from importlib.resources import files
from pathlib import Path

from ..errors import CatsDogsError
from ..paths import user_path
from ..storage import write_atomic

NOTEBOOK = "walkthrough.ipynb"


def notebook(folder: str | Path = ".") -> Path:
    """Write the tutorial, a Jupyter notebook that runs everything step by step on synthetic images.

    Parameters
    ----------
    folder : str or Path
        The folder to write it into. The notebook itself writes into ``walkthrough/`` beside it.

    Returns
    -------
    Path
        The notebook.

    Raises
    ------
    CatsDogsError
        A file of this name exists.
    """
    path = user_path(folder) / NOTEBOOK
    if os.path.lexists(path):
        raise CatsDogsError(f"{path} exists", "Rename it, or change to another folder")
    write_atomic(path, files(__package__).joinpath(NOTEBOOK).read_bytes())
    return path
