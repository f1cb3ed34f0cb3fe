"""Make heads without training."""

import numpy as np

from catsdogs import head
from catsdogs.cache import Provenance
from catsdogs.head import Classifier, FittedHead, HeadMetadata
from catsdogs.head.paths import RegularisationPath, to_c

METADATA = HeadMetadata(
    method=head.METHOD,
    classes=("cat", "dog"),
    provenance=Provenance("tiny.keras", "ab" * 32, "file:1", "squashed", "float32", "tensorflow"),
    views=("224",),
    features={"train": "cd" * 32},
    transform="identity",
    C=0.1,
    clip=0.01,
    positive_share=0.5,
    excluded=(),
    near_duplicates=True,
    versions={"scikit-learn": "1.7"},
)


def save_head(artifacts, metadata=METADATA):
    """Write a head that knows nothing."""
    head.save(artifacts, FittedHead(Classifier("identity", np.zeros(2048), 0.0), None, 0.0), metadata, extra_files={})


def with_choice(training_set, transform, c):
    """Return a result of cross-validation with this transform and C."""
    path = RegularisationPath(training_set, transform)
    path.fit(round(4 * np.log10(c)))
    solution, logits = path.final_fit()
    return head.CrossValidation(transform, to_c(path.best), {transform: path}, {}, logits, path.design, solution)
