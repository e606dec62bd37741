"""Files of allowed directories, and no way out of them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_gateway_mcp.features.roots import FileRefused, read_within


@pytest.fixture
def house(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "inside").mkdir(parents=True)
    (root / "a.png").write_bytes(b"a")
    (root / "inside" / "b.png").write_bytes(b"b")
    (tmp_path / "secret").write_bytes(b"s")
    (tmp_path / "root2").mkdir()
    (tmp_path / "root2" / "c.png").write_bytes(b"c")
    return root


def test_a_file_of_a_root_is_read_with_its_name(house: Path) -> None:
    assert read_within(str(house / "a.png"), [str(house)], 10) == ("a.png", b"a")
    assert read_within(str(house / "inside" / "b.png"), ["/nowhere", str(house)], 1) == ("b.png", b"b")
    assert read_within((house / "a.png").as_uri(), [str(house) + "/"], 10) == ("a.png", b"a")


def test_a_root_may_be_a_link_of_the_operators(house: Path) -> None:
    (house.parent / "link").symlink_to(house)
    assert read_within(str(house.parent / "link" / "a.png"), [str(house.parent / "link")], 10)[1] == b"a"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("{root}/../secret", "without `..`"),
        ("{root}/inside/../a.png", "without `..`"),
        ("file://{root}/%2e%2e/secret", "without `..`"),
        ("a.png", "absolute"),
        ("~/a.png", "absolute"),
        ("", "absolute"),
        ("{root}/a.png\0.txt", "absolute"),
        ("{root}2/c.png", "none of the allowed"),
        ("{root}", "none of the allowed"),
        ("/etc/passwd", "none of the allowed"),
        ("{root}/inside", "no regular file"),
        ("{root}/none.png", "no such file"),
        ("{root}/a.png/b", "no directory, or a link"),
        ("{root}/to-file", "links are not followed"),
        ("{root}/to-inside/b.png", "no directory, or a link"),
        ("{root}/to-outside/secret", "no directory, or a link"),
        ("{root}/pipe", "no regular file"),
    ],
)
def test_nothing_else_is_read(house: Path, path: str, words: str) -> None:
    (house / "to-file").symlink_to(house.parent / "secret")
    (house / "to-inside").symlink_to(house / "inside")
    (house / "to-outside").symlink_to(house.parent)
    os.mkfifo(house / "pipe")
    with pytest.raises(FileRefused, match=words):
        read_within(path.format(root=house), [str(house)], 10)


def test_a_file_that_is_too_large_is_left(house: Path) -> None:
    (house / "large").write_bytes(bytes(11))
    with pytest.raises(FileRefused, match="larger than 10 bytes"):
        read_within(str(house / "large"), [str(house)], 10)


def test_a_file_that_may_not_be_read_says_so(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied")  # the tests may run as root, who may read everything

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(FileRefused, match="may not be read"):
        read_within(str(house / "a.png"), [str(house)], 10)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="only Linux shows a process its descriptors")
def test_no_descriptor_is_left_open(house: Path) -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = descriptors()
    for path in ("a.png", "inside/b.png", "inside", "none", "a.png/x"):
        with contextlib.suppress(FileRefused):
            read_within(str(house / path), [str(house)], 10)
    assert descriptors() == before


@given(
    st.lists(st.sampled_from(["..", ".", "", "inside", "a.png", "b.png", "secret", "root", "%2e%2e", "~"]), max_size=6)
)
def test_no_path_leads_out(tmp_path_factory: pytest.TempPathFactory, parts: list[str]) -> None:
    top = tmp_path_factory.getbasetemp() / "no-path"
    (top / "open" / "inside").mkdir(parents=True, exist_ok=True)
    (top / "open" / "a.png").write_bytes(b"inside")
    (top / "secret").write_bytes(b"outside")
    for said in (f"{top}/open/{'/'.join(parts)}", "/".join(parts)):
        try:
            _, content = read_within(said, [f"{top}/open"], 100)
        except FileRefused:
            continue
        assert content == b"inside"
