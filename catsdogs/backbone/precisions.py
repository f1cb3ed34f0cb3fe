"""The precisions that features are computed in, and the largest difference from float32 that each may have."""

import math
from typing import get_args

from ..choices import PrecisionChoice

FLOAT32, BFLOAT16, FLOAT16, INT8 = "float32", "bfloat16", "float16", "int8"

PRECISIONS: tuple[PrecisionChoice, ...] = get_args(PrecisionChoice)[1:]  # without "auto"

TOLERANCES = {FLOAT32: 1e-3, BFLOAT16: 0.045, FLOAT16: 0.045, INT8: math.inf}
"""Largest relative difference of an engine's features from those of plain Keras, by precision: norm of the difference
over norm of the features.

The check uses this difference instead of the cosine, because with random weights the features of all images are almost
parallel; 0.045 is a cosine of 0.999. ResNet50 differs by 3e-7 in float32 and 3e-3 in bfloat16; with swapped channels it
differs by 0.5 (random:0, `probe_image`, 2 cores of an AMD EPYC with AVX-512 bf16). A network that exceeds the tolerance
in 16 bits is computed in float32. An int8 network is calibrated on the user's images and differs greatly on a synthetic
one, so `inference.calibration` compares it on images of the user."""
