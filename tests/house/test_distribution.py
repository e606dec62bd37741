"""What is published: only our packages, nothing that runs at installation, no dependency that was not argued."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    directory = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(directory)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (path,) = directory.glob("*.whl")
    return zipfile.ZipFile(path)


def metadata(wheel: zipfile.ZipFile) -> Message:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return message_from_bytes(wheel.read(name))


def test_the_wheel_holds_our_two_packages_and_its_metadata_alone(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"openai_gateway", "openai_gateway_mcp"}
    assert len(tops) == 3


def test_nothing_in_the_wheel_runs_at_installation_or_at_every_start(wheel: zipfile.ZipFile) -> None:
    assert not [name for name in wheel.namelist() if name.endswith((".pth", ".so", ".exe", ".sh", "setup.py"))]


def test_licence_readme_and_typing_marks_are_inside(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert {"openai_gateway/py.typed", "openai_gateway_mcp/py.typed"} <= names
    assert "# openai-gateway-mcp" in metadata(wheel).get_payload()


def test_the_wheel_requires_what_was_argued_and_no_more(wheel: zipfile.ZipFile) -> None:
    required = [line for line in metadata(wheel).get_all("Requires-Dist", []) if "extra ==" not in line]
    assert len(required) == 7


def test_the_classifiers_name_every_python_that_the_package_allows_here() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {line.rsplit(" ", 1)[1] for line in project["classifiers"] if "Python :: 3." in line}
    assert f"3.{sys.version_info.minor}" in named
    assert project["requires-python"] == ">=3.11"
