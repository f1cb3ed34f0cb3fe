"""Build the documentation with Sphinx: MyST reads Markdown, autodoc the docstrings, Typer describes the commands."""

import re
import subprocess
import sys

from sphinx.application import Sphinx
from typer.main import get_command

import catsdogs
from catsdogs.cli import app

project = "catsdogs"
author = "The catsdogs developers"
version = release = catsdogs.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]

# Every reference is checked, and `.ci/run` turns warnings into errors.
nitpicky = True
# In docstrings single backticks also name parameters and what is not public.
default_role = "py:obj"
nitpick_ignore_regex = [("py:obj", ".*")]

myst_heading_anchors = 3

# Types are in the docstrings' parameter lists, with shapes and units; signatures stay short without them.
autodoc_typehints = "none"
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_param = False
napoleon_use_rtype = False

html_theme = "furo"
html_title = "catsdogs"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_copyright = False
html_copy_source = False
html_show_sourcelink = False
pygments_style = "default"
pygments_dark_style = "github-dark"


def describe_commands(_: Sphinx, page: str, source: list[str]) -> None:
    """Append what Typer writes about all commands to their page, without its title."""
    if page != "reference/commands":
        return
    typer = [sys.executable, "-m", "typer", "catsdogs.cli.app", "utils", "docs", "--name", "catsdogs"]
    described = subprocess.run(typer, capture_output=True, text=True, check=True).stdout
    summaries = {name: command.help.splitlines()[0] for name, command in get_command(app).commands.items()}
    # Typer's own list of the commands cuts their sentences off.
    described = re.sub(
        r"^\* `([a-z]+)`: .*",
        lambda line: f"* [`{line[1]}`](#catsdogs-{line[1]}): {summaries[line[1]]}",
        described,
        flags=re.MULTILINE,
    )
    described = re.sub(r"^Example: (.*)", r"Example: `\1`", described, flags=re.MULTILINE)
    source[0] += described.partition("\n")[2]


def setup(application: Sphinx) -> None:
    """Connect what this file adds to Sphinx."""
    application.connect("source-read", describe_commands)
