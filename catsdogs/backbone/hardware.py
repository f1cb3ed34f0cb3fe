"""Identify the CPU, and find the precisions that it supports natively."""

import platform
from functools import cache
from pathlib import Path

_FLAGS = {"bfloat16": {"avx512_bf16", "amx_bf16"}}
"""CPU flags by precision, as the Linux kernel names them (arch/x86/include/asm/cpufeatures.h)."""


def cpu_supports(precision: str) -> bool:
    """Whether the CPU supports `precision` natively; False if the system does not report CPU flags."""
    return bool(_FLAGS[precision] & set(_cpuinfo("flags").split()))


def processor_name() -> str:
    """Return the model name of the CPU, or its architecture if the system does not report a name."""
    return _cpuinfo("model name") or platform.machine()


def processor_identity() -> str:
    """Return name and flags of the CPU, which a compiled network depends on."""
    return f"{processor_name()}: {_cpuinfo('flags') or _cpuinfo('Features')}"  # the latter on ARM


@cache
def _cpuinfo(name: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")
