from .cache import Features, import_features, load_features
from .commands.benchmark import Benchmark, benchmark
from .commands.correct import Correction, correct
from .commands.demo import Demo, demo
from .commands.evaluate import Evaluation, evaluate
from .commands.export import Export, export
from .commands.extract import Extraction, extract
from .commands.info import Info, info
from .commands.merge import Merge, merge
from .commands.notebook import notebook
from .commands.predict import Prediction, Predictor, predict
from .commands.prepare import Preparation, prepare
from .commands.report import Report, report
from .commands.review import Review, review
from .commands.run import Run, run
from .commands.scan import scan
from .commands.score import Scoring, predict_to_parquet, score
from .commands.similar import SimilarImage, similar
from .commands.submit import Submission, submit
from .commands.subset import Subset, subset
from .commands.train import Training, train
from .commands.verify import Verification, verify
from .errors import CatsDogsError, OptionError
from .head.results import Metrics, TrainingMetrics
from .inference.plan import ComputeOptions
from .locks import lock
from .sources import Scan

__version__: str

__all__ = [
    "Benchmark",
    "CatsDogsError",
    "ComputeOptions",
    "Correction",
    "Demo",
    "Evaluation",
    "Export",
    "Extraction",
    "Features",
    "Info",
    "Merge",
    "Metrics",
    "OptionError",
    "Prediction",
    "Predictor",
    "Preparation",
    "Report",
    "Review",
    "Run",
    "Scan",
    "Scoring",
    "SimilarImage",
    "Submission",
    "Subset",
    "Training",
    "TrainingMetrics",
    "Verification",
    "benchmark",
    "correct",
    "demo",
    "evaluate",
    "export",
    "extract",
    "import_features",
    "info",
    "load_features",
    "lock",
    "merge",
    "notebook",
    "predict",
    "predict_to_parquet",
    "prepare",
    "report",
    "review",
    "run",
    "scan",
    "score",
    "similar",
    "submit",
    "subset",
    "train",
    "verify",
]
