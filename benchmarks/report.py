"""What a benchmark prints, and writes to a file if asked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def show(report: Mapping[str, Any], file: Path | None) -> None:
    """Print figures as one JSON object, and write the same to a file where there is one."""
    text = json.dumps(report, indent=1)
    if file is not None:
        file.write_text(text + "\n")
    print(text)
