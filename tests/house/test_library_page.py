"""The example of docs/library.md runs as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "library.md"


def test_the_example_of_the_library_runs(tmp_path: Path) -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    script = tmp_path / "example.py"
    script.write_text(example, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script)],
        env={"PATH": os.defpath, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "served: echo",
        "whole: [echo, the built-in test model] Hello, library!",
        "served by echo/echo with 1 attempt(s)",
        "[echo, the built-in test model] Hello, library!",
        "finished: stop",
        "404 model_not_found - The model 'ecko' is not served here. Did you mean 'echo'?",
    ]
