"""What is kept for a caller: its own, for a while, and no more than so much."""

from __future__ import annotations

import re

import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from openai_gateway_mcp.features.media import decoded, media_of
from openai_gateway_mcp.features.shelf import EACH, Shelf, new_handle


async def test_each_owner_finds_its_own(autojump_clock: MockClock) -> None:
    await trio.lowlevel.checkpoint()
    shelf: Shelf[str] = Shelf(10)
    handle = shelf.put("ada", "a", 1)
    assert handle is not None
    assert len(handle) >= 16
    assert (shelf.get("ada", handle), shelf.get("ben", handle), shelf.get("ada", "x")) == ("a", None, None)
    assert shelf.put("ada", "b", 1, handle) == handle
    assert shelf.get("ada", handle) == "b"


def test_a_handle_has_128_bits_that_nobody_can_guess() -> None:
    handles = [new_handle() for _ in range(100)]
    # 64 signs are 6 bits each; and no two begin or end alike, as those that count or tell the time would.
    assert all(len(handle) * 6 >= 128 and re.fullmatch(r"[A-Za-z0-9_-]+", handle) for handle in handles)
    assert len({handle[:8] for handle in handles}) == len({handle[-8:] for handle in handles}) == 100


async def test_what_is_used_stays(autojump_clock: MockClock) -> None:
    shelf: Shelf[str] = Shelf(10)
    handle = shelf.put("ada", "a", 1) or ""
    await trio.sleep(9)
    assert shelf.get("ada", handle) == "a"
    await trio.sleep(9)
    assert shelf.get("ada", handle) == "a"
    await trio.sleep(10)
    assert shelf.get("ada", handle) is None


async def test_the_owners_oldest_make_way_first_and_then_the_oldest_of_all(autojump_clock: MockClock) -> None:
    await trio.lowlevel.checkpoint()
    shelf: Shelf[str] = Shelf(10, max_of_owner=10, max_of_all=15, each=0)
    bens = shelf.put("ben", "b", 5) or ""
    first, second = (shelf.put("ada", name, 5) or "" for name in ("1", "2"))
    assert shelf.get("ada", first) == "1"  # it is the newest now
    third = shelf.put("ada", "3", 5) or ""
    assert [shelf.get("ada", one) for one in (first, second, third)] == ["1", None, "3"]
    assert shelf.get("ben", bens) == "b"
    shelf.put("cleo", "c", 5)
    assert [shelf.get("ada", one) for one in (first, third)] == [None, "3"]
    assert shelf.put("cleo", "large", 11) is None


async def test_a_crowd_of_small_things_is_no_more_than_a_few_large_ones(autojump_clock: MockClock) -> None:
    await trio.lowlevel.checkpoint()
    shelf: Shelf[str] = Shelf(10, max_of_owner=5 * EACH, max_of_all=7 * EACH)
    handles = [shelf.put(owner, "", 0) or "" for owner in ("ada", "ben") for _ in range(9)]
    assert [shelf.get("ada", handle) for handle in handles[:9]] == [None] * 7 + [""] * 2
    assert [shelf.get("ben", handle) for handle in handles[9:]] == [None] * 4 + [""] * 5


async def test_what_has_expired_makes_way_before_what_has_not(autojump_clock: MockClock) -> None:
    shelf: Shelf[str] = Shelf(10, max_of_owner=3, max_of_all=4, each=0)
    old, used = shelf.put("ada", "old", 1), shelf.put("ada", "used", 1)
    await trio.sleep(9)
    assert shelf.get("ada", used or "")
    await trio.sleep(2)
    shelf.put("ada", "new", 2)
    assert old not in shelf._kept
    assert shelf.get("ada", used or "") == "used"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 12), st.floats(0, 12)), max_size=30))
def test_it_never_holds_more_than_it_may(puts: list[tuple[str, int, float]]) -> None:
    async def check() -> None:
        shelf: Shelf[int] = Shelf(10, max_of_owner=10, max_of_all=20, each=0)
        for owner, size, pause in puts:
            shelf.put(owner, size, size)
            kept = list(shelf._kept.values())
            assert sum(one.size for one in kept) <= 20
            for name in "abc":
                assert sum(one.size for one in kept if one.owner == name) <= 10
            assert {one.owner: 0 for one in kept if one.size}.keys() == {n for n, s in shelf._sizes.items() if s}
            await trio.sleep(pause)

    trio.run(check, clock=MockClock(autojump_threshold=0))


def test_media_are_known_by_how_they_begin() -> None:
    known = {
        b"\x89PNG\r\n\x1a\n": "image/png",
        b"\xff\xd8\xff\xe0": "image/jpeg",
        b"GIF89a": "image/gif",
        b"RIFF\1\2\3\4WEBP": "image/webp",
        b"RIFF\1\2\n\4WAVE": "audio/wav",
        b"ID3\4": "audio/mpeg",
        b"\xff\xfb\x90": "audio/mpeg",
        b"\xff\xf1": "audio/aac",
        b"fLaC": "audio/flac",
        b"OggS": "audio/ogg",
        b"\x1aE\xdf\xa3": "audio/webm",
        b"\0\0\0\x20ftypM4A ": "audio/mp4",
    }
    found = {head: media_of(head + bytes(9)) for head in known}
    assert {head: media and media.mime_type for head, media in found.items()} == known
    assert media_of(b"") is None
    assert media_of(b"<svg>") is None


@given(st.binary(min_size=48, max_size=300))
def test_bytes_come_back_from_base64_and_from_a_data_url(data: bytes) -> None:
    media = media_of(b"OggS" + data)
    assert media is not None
    assert decoded(media.base64) == decoded(media.data_url) == media.data


def test_a_path_is_no_base64() -> None:
    for path in ("/home/ada/notes.wav", "notes", "data:audio/wav,abc", "data:audio/wav;base64,abc", "x" * 65, ""):
        assert decoded(path) is None


async def test_the_owners_oldest_is_found_whatever_others_have(autojump_clock: MockClock) -> None:
    """What looks for it through all that is older is at it for hours."""
    await trio.lowlevel.checkpoint()
    shelf: Shelf[str] = Shelf(10, max_of_owner=150_000, max_of_all=1_000_000, each=1)
    bens = [shelf.put("ben", "b", 0) or "" for _ in range(100_000)]
    adas = [shelf.put("ada", "a", 149_998) or "" for _ in range(60_000)]
    assert (shelf.get("ben", bens[0]), shelf.get("ada", adas[-2]), shelf.get("ada", adas[-1])) == ("b", None, "a")
