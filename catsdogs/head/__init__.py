"""The head: a logistic regression on features, which gives the probability of class 1.

`designs` builds the design matrix of the regression, `solver` and `dual` fit the regressions of all folds together,
`paths` and `validation` select the transform and C by cross-validation, `fitting` fits the final scikit-learn
estimator, and `files` writes and reads the head.
"""

from .designs import Classifier
from .files import TRAIN_HINT, Head, check_compatible, damaged_files, load, save
from .fitting import FittedHead, fit
from .folds import TrainingSet
from .metadata import METHOD, BackboneIdentity, HeadMetadata
from .validation import CrossValidation, cross_validate
