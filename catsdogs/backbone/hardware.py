"""A precision comes in; whether this machine's processor has instructions for it goes out, and what it is called."""

import platform
from functools import cache
from pathlib import Path

_FLAGS = {"bfloat16": {"avx512_bf16", "amx_bf16"}}
"""As the kernel of Linux names them (arch/x86/include/asm/cpufeatures.h)."""


def cpu_computes(precision: str) -> bool:
    """Whether the processor computes `precision` natively; False where nobody says so."""
    return bool(_FLAGS[precision] & set(_cpu_says("flags").split()))


def processor_name() -> str:
    """Return what the processor calls itself, or its architecture."""
    return _cpu_says("model name") or platform.machine()


@cache
def _cpu_says(name: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")
