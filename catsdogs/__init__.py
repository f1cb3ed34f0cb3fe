"""Cats or dogs: classify images with the cached features of a frozen ResNet50 and a logistic regression.

``__init__.pyi`` lists the public names. Each is imported at its first use, so that ``catsdogs --help`` does not wait
for NumPy.

The first call that computes features sets ``KERAS_BACKEND`` and ``TF_CPP_MIN_LOG_LEVEL=3`` if they are not set, and
disables TensorFloat-32, for the whole process; docs/explanation/backbone.md gives the reasons.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
