"""Name the precisions that features are computed in, and how far from float32 each may be."""

import math

FLOAT32, BFLOAT16, FLOAT16, INT8 = "float32", "bfloat16", "float16", "int8"

PRECISIONS = (FLOAT32, BFLOAT16, FLOAT16, INT8)

TOLERANCES = {FLOAT32: 1e-3, BFLOAT16: 0.045, FLOAT16: 0.045, INT8: math.inf}
"""How far an engine's features may be from plain Keras', as a share of their norm, by precision.

Of the difference and not of the angle, as all features of random weights point almost the same way; 0.045 is a cosine
of 0.999. ResNet50 is 3e-7 away at float32 and 3e-3 at bfloat16; with the channels swapped it is 0.5 (random:0,
`probe_image`, 2 cores of an AMD EPYC with AVX-512 bf16). A network that 16 bits do not suit is computed in 32. In 8
bits it is made for pictures like the user's, and far off on one that is drawn: `inference.calibration` compares it on
theirs."""
