"""The modules that hold jitted functions."""

from scheduler.runtime.compile_cache import KERNEL_FOLDERS

ROOT = KERNEL_FOLDERS[0].parents[1]

KERNEL_MODULES = tuple(
    ".".join(path.with_suffix("").relative_to(ROOT).parts)
    for folder in KERNEL_FOLDERS
    for path in sorted(folder.glob("*.py"))
    if path.stem != "__init__"
)
"""Their dotted names."""
