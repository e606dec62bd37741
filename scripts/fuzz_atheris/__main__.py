"""Every target of tests/guided under atheris, one process after the other; fails where one of them found a fault.

The inputs that reached something new are kept in .cache/atheris/TARGET/corpus, and the next run goes on from them. The
input that showed a fault is kept beside them, and the target goes no further.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.guided.target import Target
from tests.guided.targets import TARGETS

CACHE: Final = Path(".cache/atheris")
HERE: Final = Path(__file__).parent
MEGABYTES: Final = 1024
SLOWEST: Final = 25  # seconds for one input; the usual takes milliseconds
LONGEST: Final = 8192  # bytes of one: a whole conversation, or the choices of one
CHOICES: Final = 200

_RUNS: Final = re.compile(r"^stat::number_of_executed_units:\s*(\d+)", re.MULTILINE)


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/fuzz --atheris", description=__doc__)
    parser.add_argument("--seconds", type=int, default=600, help="for each target (default: %(default)s)")
    parser.add_argument("what", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; or one, and a FILE to run")
    args = parser.parse_args()
    names = args.what or list(TARGETS)
    if len(names) == 2 and names[0] in TARGETS and names[1] not in TARGETS:
        TARGETS[names[0]](Path(names[1]).read_bytes())
        print("nothing is wrong with it")
        return 0
    if unknown := [name for name in names if name not in TARGETS]:
        parser.error(f"there is no target {unknown[0]}")

    print(f"{'target':<16} {'executions':>12} {'inputs kept':>12} {'faults':>8}", flush=True)
    failed = [name for name in names if not fuzz(TARGETS[name], args.seconds)]
    sound = [name for name in names if name not in failed]
    if sound:
        print(flush=True)
        subprocess.run([sys.executable, HERE / "reached.py", CACHE, *sound], check=True)
    return int(bool(failed))


def fuzz(target: Target, seconds: int) -> bool:
    """Whether nothing was found. Prints the row of the target, and how to see again what was."""
    room = CACHE / target.name
    corpus, faults, log = room / "corpus", room / "faults", room / "log"
    corpus.mkdir(parents=True, exist_ok=True)
    faults.mkdir(exist_ok=True)
    for seed in target.seeds(choices=CHOICES):
        (corpus / hashlib.sha256(seed).hexdigest()).write_bytes(seed)
    known = set(faults.iterdir())
    options = [
        f"-max_total_time={seconds}", f"-rss_limit_mb={MEGABYTES}", f"-timeout={SLOWEST}", f"-max_len={LONGEST}",
        f"-artifact_prefix={faults}/", "-print_final_stats=1",
    ]  # fmt: skip
    with log.open("wb") as out:
        command = [sys.executable, HERE / "one.py", target.name, corpus, *options]
        status = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, stdout=out, stderr=out).returncode
    said = log.read_text(errors="replace")
    runs = _RUNS.search(said)
    found = sorted(set(faults.iterdir()) - known)
    kept = len(list(corpus.iterdir()))
    print(f"{target.name:<16} {runs[1] if runs else '?':>12} {kept:>12} {len(found):>8}", flush=True)
    if status == 0 and runs and not found:
        return True
    print("\n".join(said.splitlines()[-60:]))
    print(f"{target.name} ended with status {status}; all that it said is in {log}. To see it again:")
    for path in found:
        print(f"  scripts/fuzz --atheris {target.name} {path}")
    return False


if __name__ == "__main__":
    sys.exit(main())
