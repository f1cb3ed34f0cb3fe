from .artifacts import hold
from .benchmark import Benchmark, bench
from .cache import Features, import_features, load_features
from .computing import Compute
from .demonstration import Demo, demo
from .errors import CatsDogsError
from .evaluation import Evaluation, evaluate
from .exporting import Export, export
from .extraction import Extraction, extract
from .inventory import info
from .labelling import Labelled, label
from .pipeline import Run, run
from .preparation import Preparation, prepare
from .reporting import Report, report
from .submission import Submission, submit
from .training import Training, train
from .verification import Verification, verify
from .walkthrough import notebook

__version__: str

__all__ = [
    "Benchmark",
    "CatsDogsError",
    "Compute",
    "Demo",
    "Evaluation",
    "Export",
    "Extraction",
    "Features",
    "Labelled",
    "Preparation",
    "Report",
    "Run",
    "Submission",
    "Training",
    "Verification",
    "bench",
    "demo",
    "evaluate",
    "export",
    "extract",
    "hold",
    "import_features",
    "info",
    "label",
    "load_features",
    "notebook",
    "prepare",
    "report",
    "run",
    "submit",
    "train",
    "verify",
]
