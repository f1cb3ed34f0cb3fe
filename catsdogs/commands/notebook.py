"""Write the walkthrough notebook into a folder."""

import os
from importlib.resources import files
from pathlib import Path

from ..errors import CatsDogsError
from ..paths import user_path
from ..storage import write_atomic

NOTEBOOK = "walkthrough.ipynb"


def notebook(folder: str | Path = ".") -> Path:
    """Write the walkthrough, a Jupyter notebook: shape the pictures, train, write the spreadsheet, on drawn pictures.

    Parameters
    ----------
    folder : str or Path
        Where it goes. The notebook itself writes into ``walkthrough/`` beside it.

    Returns
    -------
    Path
        The notebook.

    Raises
    ------
    CatsDogsError
        There is a file of its name already.
    """
    path = user_path(folder) / NOTEBOOK
    if os.path.lexists(path):
        raise CatsDogsError(f"{path} is there already", "Rename it, or go to another folder")
    write_atomic(path, files(__package__).joinpath(NOTEBOOK).read_bytes())
    return path
