from .artifacts import hold
from .cache import Features, import_features, load_features
from .demonstration import Demo, demo
from .errors import CatsDogsError
from .evaluation import Evaluation, evaluate
from .extraction import Extraction, extract
from .inventory import info
from .labelling import Labelled, label
from .pipeline import Run, run
from .reporting import Report, report
from .submission import Submission, submit
from .training import Training, train
from .verification import Verification, verify

__version__: str

__all__ = [
    "CatsDogsError",
    "Demo",
    "Evaluation",
    "Extraction",
    "Features",
    "Labelled",
    "Report",
    "Run",
    "Submission",
    "Training",
    "Verification",
    "demo",
    "evaluate",
    "extract",
    "hold",
    "import_features",
    "info",
    "label",
    "load_features",
    "report",
    "run",
    "submit",
    "train",
    "verify",
]
