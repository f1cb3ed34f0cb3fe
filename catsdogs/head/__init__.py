"""The head: a logistic regression on features, which gives the probability of class 1.

`designs` builds the design matrix of the regression, `solver` and `dual` fit the regressions of all folds together,
`paths` and `validation` select the transform and C by cross-validation, `fitting` fits the final scikit-learn
estimator, and `files` writes and reads the head.

``__init__.pyi`` lists its names, each of which is imported at its first use.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
