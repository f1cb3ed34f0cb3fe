"""Results come in; what a person sees in a terminal goes out.

What a command says is in the module that is named like the library's own: `labelling` shows what `catsdogs.labelling`
returns. Results go to standard output, progress and errors to standard error.
"""

from .bar import progress_bar
from .benchmark import benchmark_lines
from .console import program, show, show_error
from .demonstration import demo_lines
from .evaluation import evaluation_lines
from .exporting import export_lines
from .extraction import extraction_lines
from .inventory import info_lines
from .labelling import prediction_lines, predictions_csv, previews_shown, show_predictions
from .pipeline import run_lines
from .preparation import preparation_lines
from .reporting import report_lines
from .submission import submission_lines
from .training import training_lines
from .verification import verification_lines
from .walkthrough import notebook_lines

__all__ = [
    "benchmark_lines",
    "demo_lines",
    "evaluation_lines",
    "export_lines",
    "extraction_lines",
    "info_lines",
    "notebook_lines",
    "prediction_lines",
    "predictions_csv",
    "preparation_lines",
    "previews_shown",
    "program",
    "progress_bar",
    "report_lines",
    "run_lines",
    "show",
    "show_error",
    "show_predictions",
    "submission_lines",
    "training_lines",
    "verification_lines",
]
