"""Look at tables as spreadsheets do."""

import csv
import io
import re

SIGNS = "=+-@\uff1d\uff0b\uff0d\uff20"
"""What a formula begins with."""

_HARMLESS = re.compile(rf"([+-][0-9.]+(e-?[0-9]+)?|[{SIGNS}])(,.*)?", re.DOTALL)
"""Numbers and signs alone; where a semicolon separates cells, the rest of a row may follow."""


def assert_no_formula(content, separator=","):
    """Hold each cell against what a spreadsheet would take for a formula, whatever it skips before."""
    for row in csv.reader(io.StringIO(content, newline=""), delimiter=separator):
        for cell in row:
            start = cell.strip().lstrip('" \u200c\u200d\u3000')
            assert not start or start[0] not in SIGNS or _HARMLESS.fullmatch(start), row
