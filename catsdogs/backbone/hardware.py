"""A precision comes in; whether this machine's processor has instructions for it goes out."""

from functools import cache
from pathlib import Path

_FLAGS = {"bfloat16": {"avx512_bf16", "amx_bf16"}}
"""As the kernel of Linux names them (arch/x86/include/asm/cpufeatures.h)."""


def cpu_computes(precision: str) -> bool:
    """Whether the processor computes `precision` natively; False where nobody says so."""
    return bool(_FLAGS[precision] & _cpu_flags())


@cache
def _cpu_flags() -> frozenset[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return frozenset()
    return frozenset(flag for line in lines if line.startswith("flags") for flag in line.partition(":")[2].split())
