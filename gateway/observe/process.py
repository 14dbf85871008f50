"""What this process uses: CPU time and resident memory, read where reading is cheap."""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

_STATM = Path("/proc/self/statm")


class Usage:
    """The process's CPU time since the last look, and its memory."""

    def __init__(self) -> None:
        self._seen = 0.0

    def cpu_since(self) -> float:
        """Return the seconds of CPU, user and system, since the last call; the first counts from the start."""
        now = time.process_time()
        since, self._seen = now - self._seen, now
        return max(0.0, since)

    def resident(self) -> int:
        """Return the resident memory in bytes; where /proc is missing, the most that it has been."""
        try:
            return int(_STATM.read_bytes().split()[1]) * resource.getpagesize()
        except OSError:
            most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            return most if sys.platform == "darwin" else most * 1024
