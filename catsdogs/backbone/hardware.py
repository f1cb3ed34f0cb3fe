"""Find out what the processor is called, and which precisions it computes natively."""

import platform
from functools import cache
from pathlib import Path

_FLAGS = {"bfloat16": {"avx512_bf16", "amx_bf16"}}
"""As the kernel of Linux names them (arch/x86/include/asm/cpufeatures.h)."""


def cpu_computes(precision: str) -> bool:
    """Whether the processor computes `precision` natively; False where nobody says so."""
    return bool(_FLAGS[precision] & set(_cpuinfo("flags").split()))


def processor_name() -> str:
    """Return what the processor calls itself, or its architecture."""
    return _cpuinfo("model name") or platform.machine()


@cache
def _cpuinfo(name: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")
