"""Files inside the directories that the operator allows: nothing else is opened, whatever a path says."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePath
from typing import Final
from urllib.parse import unquote, urlsplit

_PIECE: Final = 2**20
_CAN_WALK: Final = os.open in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW")
_DIRECTORY: Final = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)
_STEP: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_LEAF: Final = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)  # a FIFO would be waited for

_WORDS: Final = {
    errno.ENOENT: "there is no such file",
    errno.ENOTDIR: "a part of the path is no directory, or a link",
    errno.ELOOP: "it is a link, and links are not followed",
    errno.EACCES: "it may not be read",
    errno.EPERM: "it may not be read",
}


class FileRefused(Exception):
    """No file is read; the words say why, and hold nothing of what lies outside of the roots."""


def read_within(said: str, roots: Sequence[str], max_bytes: int) -> tuple[str, bytes]:
    """The name and the content of the file. Blocks. Raises FileRefused.

    Each step is opened relative to the directory before it, and no link is followed: neither a link nor a directory
    that is exchanged in the meantime leads out. A root itself may be a link: it is the operator's.
    """
    path = PurePath(unquote(urlsplit(said).path) if said.startswith("file://") else said)
    if not roots:
        raise FileRefused("no file is read, since ALLOWED_ROOTS names no directory")
    if not _CAN_WALK:
        raise FileRefused("files cannot be read safely on this system; send a data: URL")
    if "\0" in said or ".." in path.parts or not path.is_absolute():
        raise FileRefused("a path is absolute, and without `..`")
    for root in roots:
        if path != PurePath(root) and path.is_relative_to(root):
            try:
                return path.name, _read(root, path.relative_to(root).parts, max_bytes)
            except OSError as error:
                raise FileRefused(_WORDS.get(error.errno or 0, "it cannot be read")) from None
    raise FileRefused("it lies in none of the allowed directories")


def _read(root: str, parts: Sequence[str], max_bytes: int) -> bytes:
    with _opened(root, parts) as descriptor:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise FileRefused("it is no regular file")
        content = bytearray()
        while piece := os.read(descriptor, _PIECE):
            content += piece
            if len(content) > max_bytes:
                raise FileRefused(f"it is larger than {max_bytes:,} bytes")
        return bytes(content)


@contextmanager
def _opened(root: str, parts: Sequence[str]) -> Iterator[int]:
    descriptor = os.open(root, _DIRECTORY | getattr(os, "O_CLOEXEC", 0))
    try:
        for number, part in enumerate(parts, 1):
            flags = (_LEAF if number == len(parts) else _DIRECTORY) | _STEP
            following = os.open(part, flags, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = following
        yield descriptor
    finally:
        os.close(descriptor)
