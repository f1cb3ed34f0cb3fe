"""Cats or dogs: a frozen ResNet50's features cached once, a logistic regression on them trained in seconds."""

__version__ = "0.1.0"
