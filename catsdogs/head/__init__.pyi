from .designs import Classifier
from .files import TRAIN_HINT, Head, check_compatible, damaged_files, load, save
from .fitting import FittedHead, fit
from .folds import TrainingSet
from .metadata import METHOD, HeadMetadata
from .validation import CrossValidation, cross_validate

__all__ = [
    "METHOD",
    "TRAIN_HINT",
    "Classifier",
    "CrossValidation",
    "FittedHead",
    "Head",
    "HeadMetadata",
    "TrainingSet",
    "check_compatible",
    "cross_validate",
    "damaged_files",
    "fit",
    "load",
    "save",
]
