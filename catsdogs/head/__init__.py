"""The head: a logistic regression on features, which gives the probability of class 1.

`designs` says what the regression sees of the features, `solver` fits many of them at once, `validation` chooses among
transforms and values of C by the folds, `fitting` makes the scikit-learn estimator that is kept, and `files` writes and
reads it.
"""

from .designs import Classifier
from .files import TRAIN_HINT, Head, check_compatible, damaged_files, load, save
from .fitting import FittedHead, fit
from .metadata import METHOD, BackboneIdentity, HeadMetadata
from .validation import CrossValidation, TrainingSet, cross_validate
