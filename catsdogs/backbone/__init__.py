"""Compute features with a frozen network: ``uint8[n, size, size, 3]`` RGB pixels to ``float32[n, 2048]``.

`weights` selects the weights, `network` builds the Keras model, and `engines` selects the engine that runs it. Each
engine has its own module and computes batches of one fixed shape.
"""

from .backbone import Backbone, NotFiniteError, probe_image
from .engines import AUTO, ENGINES, choose_engine
from .imagenet import fetch_imagenet
from .model_cache import ModelCache, describe_model_cache
from .precisions import FLOAT32, INT8
from .quantized import Int8Similarity, Quantized, check_installed, quantize
from .resnet50 import N_FEATURES
from .weights import Weights, choose_weights
