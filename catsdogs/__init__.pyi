from .artifacts import hold
from .cache import Features, import_features, load_features
from .commands.benchmark import Benchmark, bench
from .commands.demo import Demo, demo
from .commands.evaluate import Evaluation, evaluate
from .commands.export import Export, export
from .commands.extract import Extraction, extract
from .commands.info import info
from .commands.notebook import notebook
from .commands.predict import Labelled, label
from .commands.prepare import Preparation, prepare
from .commands.report import Report, report
from .commands.run import Run, run
from .commands.submit import Submission, submit
from .commands.train import Training, train
from .commands.verify import Verification, verify
from .errors import CatsDogsError
from .inference.plan import Compute

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
