"""What a process holds while it works, and whether that grows: for the long runs of scripts/soak."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import attrs

SLOPE: Final = 2**20  # bytes, by which a run may not grow
PER: Final = 100_000  # pieces of work
WARM: Final = 0.25  # of a run: what grows in it is what a first use makes
SAMPLES: Final = 60


@attrs.frozen
class Sample:
    """`resident`: bytes; `descriptors`: how many are open; both after `done` pieces of work."""

    done: int
    resident: int
    descriptors: int


def sample(pid: int, done: int) -> Sample:
    """What the process holds now."""
    status = Path(f"/proc/{pid}/status").read_text()
    resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
    return Sample(done, resident * 1024, sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()))


def slope(samples: list[Sample]) -> float:
    """Bytes a hundred thousand pieces of work, by least squares."""
    mean_x = sum(one.done for one in samples) / len(samples)
    mean_y = sum(one.resident for one in samples) / len(samples)
    over = sum((one.done - mean_x) * (one.resident - mean_y) for one in samples)
    return PER * over / sum((one.done - mean_x) ** 2 for one in samples)


def report(samples: list[Sample], what: str, seconds: float, *, kept: int) -> bool:
    """Print what was seen; whether nothing grew. `kept`: descriptors that may be open at the end beyond the first."""
    done = samples[-1].done
    warm = [one for one in samples if one.done >= WARM * done]
    grows = slope(warm)
    low, high = min(one.descriptors for one in warm), max(one.descriptors for one in warm)
    print(f"{done:,} {what} in {seconds:,.0f} s ({done / seconds:,.0f} a second)")
    for one in samples[:: max(1, len(samples) // 10)]:
        print(f"  after {one.done:>9,}: {one.resident / 2**20:6.1f} MiB, {one.descriptors} descriptors")
    print(f"memory grows by {grows / 2**20:.2f} MiB a {PER:,} {what}; at rest {samples[-1].descriptors} descriptors")
    print(f"descriptors between {low} and {high} while it works")
    return grows < SLOPE and samples[-1].descriptors <= samples[0].descriptors + kept
