from .corrections import read_verdicts
from .designs import Classifier
from .files import TRAIN_HINT, Head, check_compatible, damaged_files, load, save
from .fitting import FittedHead, fit
from .folds import FOLDS, SEED, TrainingSet
from .logits import to_probabilities
from .metadata import METHOD, HeadMetadata
from .metrics import CLIP_2017, bins_of, score_with_intervals, wilson
from .results import LearningCurvePoint, Metrics, TrainingMetrics, read_metrics
from .staleness import check_head, head_staleness, page_staleness, submission_staleness
from .validation import CrossValidation, cross_validate

__all__ = [
    "CLIP_2017",
    "FOLDS",
    "METHOD",
    "SEED",
    "TRAIN_HINT",
    "Classifier",
    "CrossValidation",
    "FittedHead",
    "Head",
    "HeadMetadata",
    "LearningCurvePoint",
    "Metrics",
    "TrainingMetrics",
    "TrainingSet",
    "bins_of",
    "check_compatible",
    "check_head",
    "cross_validate",
    "damaged_files",
    "fit",
    "head_staleness",
    "load",
    "page_staleness",
    "read_metrics",
    "read_verdicts",
    "save",
    "score_with_intervals",
    "submission_staleness",
    "to_probabilities",
    "wilson",
]
