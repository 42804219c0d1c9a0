"""What the API process says about itself over a measured window; the same JSON as the Node server."""

from __future__ import annotations

import asyncio
import os
import resource
import time
from typing import Any

# asyncio wakes in Python code: a finer grain would cost a noticeable share of the CPU it measures.
RESOLUTION_S = 0.01


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class MeasureProbe:
    """Samples how much later than asked a sleep ends: the delay of the event loop."""

    def __init__(self) -> None:
        self._window = 0
        self._delays_ms: list[float] = []
        self._usage = resource.getrusage(resource.RUSAGE_SELF)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._sample())

    async def _sample(self) -> None:
        while True:
            window = self._window
            begun = time.perf_counter()
            await asyncio.sleep(RESOLUTION_S)
            if window != self._window:
                continue  # the sleep began before the window did
            delay_s = time.perf_counter() - begun - RESOLUTION_S
            self._delays_ms.append(max(0.0, delay_s * 1000))

    def reset(self) -> None:
        self._window += 1
        self._delays_ms.clear()
        self._usage = resource.getrusage(resource.RUSAGE_SELF)

    def read(self) -> dict[str, Any]:
        now = resource.getrusage(resource.RUSAGE_SELF)
        ordered = sorted(self._delays_ms)
        return {
            "cpuUserUs": round((now.ru_utime - self._usage.ru_utime) * 1e6),
            "cpuSystemUs": round((now.ru_stime - self._usage.ru_stime) * 1e6),
            "loopDelayP50Ms": _quantile(ordered, 0.5) if ordered else None,
            "loopDelayP99Ms": _quantile(ordered, 0.99) if ordered else None,
            "loopDelayMaxMs": ordered[-1] if ordered else None,
            "loopUtilisation": None,
            "rssPeakBytes": now.ru_maxrss * 1024,
            "pid": os.getpid(),
        }

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
