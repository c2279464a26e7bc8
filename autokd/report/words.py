"""Numbers as a person reads them."""

from __future__ import annotations

import math

__all__ = ["amount", "cost", "duration", "percent", "progress"]


def amount(number: float | None) -> str:
    """278324 -> '278 k', 41290000 -> '41.3 M'; three digits."""
    if number is None or not math.isfinite(number):
        return "-"
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(number) >= 0.9995 * size:
            return f"{_three(number / size)}{unit}"
    return _three(number)


def _three(number: float) -> str:
    return f"{number:.0f}" if abs(number) >= 99.95 else f"{number:.3g}"


def cost(name: str, value: float | None) -> str:
    """What a student costs, by the name of the cost: '278 k', '1.2 MB', '4.5 ms'."""
    if value is None or not math.isfinite(value):
        return "-"
    if name == "latency_ms":
        return f"{value:.3g} ms"
    if name in ("file_size", "memory"):
        return f"{amount(value)}B" if value >= 999.5 else f"{value:.0f} B"
    return amount(value)


def percent(value: float | None) -> str:
    """0.7413 -> '74.13 %'; a dash where there is none."""
    return "-" if value is None or not math.isfinite(value) else f"{100 * value:.2f} %"


def duration(seconds: float | None) -> str:
    """75 -> '1:15', 4000 -> '1:06:40'; a dash where it is not known."""
    if seconds is None or not math.isfinite(seconds):
        return "-"
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def progress(epochs: float, total_epochs: float, val_top1: float | None = None, seconds_left: float | None = None) -> str:
    """'3.2 of 10 epochs, val 81.20 %, 0:40 left'; what is not known is left out."""
    words = [f"{epochs:.3g} of {total_epochs:g} epochs"]
    words += [f"val {percent(val_top1)}"] if val_top1 is not None else []
    words += [f"{duration(seconds_left)} left"] if seconds_left is not None and seconds_left >= 0.5 else []
    return ", ".join(words)
