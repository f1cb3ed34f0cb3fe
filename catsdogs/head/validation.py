"""Select the transform and C with the lowest out-of-fold log loss."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..progress import Progress, tell
from ..threads import single_threaded_blas
from .designs import IDENTITY, RBF, SQRT, Design
from .folds import TrainingSet
from .paths import RegularisationPath, to_c
from .solver import Solution

_TRIAL_SIZE, _MIN_LEAD = 500, 1.15
"""With more images than the trial size, "rbf" and "sqrt" are first tried on that number, "rbf" until one C is good
enough. There and on all images, a linear transform is selected only if the loss of "rbf" is `_MIN_LEAD` times as high:
more images improve "rbf" more."""


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """The regularisation paths, and the selected transform and C.

    Parameters
    ----------
    transform : str
        Selected transform of the features (see `designs`).
    C : float
        Selected inverse regularisation strength, as in scikit-learn.
    paths : dict of str to RegularisationPath
        Regularisation paths by transform.
    trials : dict of str to RegularisationPath
        The same for the trials on the first images; empty if there are few images.
    logits : ndarray of shape (n,), float64
        Log-odds of class 1, out of fold, with the selected transform and C.
    design : Design
        Design of the selected transform.
    solution : Solution
        Solution of the selected C, with one column for each fold.
    """

    transform: str
    C: float
    paths: dict[str, RegularisationPath]
    trials: dict[str, RegularisationPath]
    logits: NDArray[np.float64]
    design: Design
    solution: Solution


def cross_validate(
    training_set: TrainingSet, *, size: int | None = None, progress: Progress | None = None
) -> CrossValidation:
    """Select the transform and C by the out-of-fold log loss.

    Each path goes from strong to weak regularisation until the loss increases. If its start has the lowest loss, it
    also goes from there to stronger regularisation. So the best C is not at an end of the path, unless the features are
    not informative at all.

    Parameters
    ----------
    training_set : TrainingSet
    size : int, optional
        Maximum number of images to train each fold on, the first in `order`.
    progress : callable, optional
        Called with the transform that is being fitted.

    Returns
    -------
    CrossValidation
    """
    # ResNet50's features are not negative, but other features may be and have no square root then.
    transforms = [IDENTITY] if training_set.features.min() < 0 else [RBF, SQRT, IDENTITY]
    trials: dict[str, RegularisationPath] = {}
    paths: dict[str, RegularisationPath] = {}
    with single_threaded_blas():
        if len(transforms) > 1 and min(len(training_set.labels), size or len(training_set.labels)) > _TRIAL_SIZE:
            few = np.isin(np.arange(len(training_set.labels)), training_set.order[:_TRIAL_SIZE])
            tell(progress, "trying the transforms", 0, 0)
            paths[RBF] = RegularisationPath(training_set, RBF, size=size)
            trials = {RBF: paths[RBF].first(few), SQRT: RegularisationPath(training_set.subset(few), SQRT)}
            trials[SQRT].search()
            trials[RBF].search(enough=_MIN_LEAD * trials[SQRT].lowest)
            if select_transform({name: path.lowest for name, path in trials.items()}) == RBF:
                transforms = [RBF]
        for done, transform in enumerate(transforms):
            tell(progress, f"selecting C for {transform}", done, len(transforms))
            path = paths.get(transform) or RegularisationPath(training_set, transform, size=size)
            paths[transform] = path
            path.search()
            path.refine()
        best = select_transform({name: path.lowest for name, path in paths.items()})
        solution, logits = paths[best].final_fit()
    return CrossValidation(best, to_c(paths[best].best), paths, trials, logits, paths[best].design, solution)


def select_transform(lowest: Mapping[str, float]) -> str:
    """Return the transform with the lowest loss; a linear one only if it leads clearly."""
    return min(lowest, key=lambda name: lowest[name] * (1 if name == RBF else _MIN_LEAD))
