"""Cats or dogs: a frozen ResNet50's features cached once, a logistic regression on them trained in seconds.

What the package offers is listed in ``__init__.pyi``. Each name is imported at its first use, so that
``catsdogs --help`` need not wait for NumPy.

The first call that computes features sets ``KERAS_BACKEND`` and ``TF_CPP_MIN_LOG_LEVEL=3`` where they are not set, and
switches TensorFloat-32 off, for the whole process; docs/design.md has the reasons.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
