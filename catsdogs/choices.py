"""Name the values that options with a fixed set of values accept."""

from typing import Literal

EngineChoice = Literal["auto", "tensorflow", "openvino", "jax", "torch"]
PrecisionChoice = Literal["auto", "float32", "bfloat16", "float16", "int8"]
ExportFormat = Literal["keras", "onnx"]
Split = Literal["train", "test"]
Study = Literal["nested", "learning_curve"]
