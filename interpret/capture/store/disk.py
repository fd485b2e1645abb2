"""How a file comes to be there whole or not at all, also after a power cut; large ones past the system's cache."""

from __future__ import annotations

import errno
import hashlib
import io
import mmap
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

#: At the end of the name of a file that is not finished.
PART: Final = ".part"
#: What `os.open` needs to hand memory straight to the disk; absent on some systems, refused by some file systems.
_DIRECT: Final[int | None] = getattr(os, "O_DIRECT", None)
#: Memory that goes straight to the disk begins and ends at a multiple of this.
PAGE: Final = mmap.PAGESIZE


class Image(NamedTuple):
    """A file as it stands in page-aligned memory: its first `n_bytes` bytes, then up to a page that is cut off."""

    memory: Tensor
    n_bytes: int

    def view(self, n_bytes: int) -> memoryview:
        """Its first bytes, without a copy."""
        return self.memory.numpy().data[:n_bytes]


def page_memory(n_bytes: int) -> Tensor:
    """Bytes that begin at a page, uint8, at least one page."""
    size = max(whole_pages(n_bytes), PAGE)
    memory = torch.empty(size + PAGE, dtype=torch.uint8)
    first = -memory.data_ptr() % PAGE
    return memory[first : first + size]


def whole_pages(n_bytes: int) -> int:
    """The size rounded up to a page."""
    return -(-n_bytes // PAGE) * PAGE


class Begun(NamedTuple):
    """A file under a temporary name: its content is with the system, or still to be written from `image`."""

    path: Path
    part: Path
    entry: dict[str, Any]
    image: Image | None = None


def write_file(path: Path, content: bytes | memoryview) -> dict[str, Any]:
    """Write a file that is there whole or not at all, also after a power cut; returns its entry."""
    return finish_file(begin_file(path, content))


def begin_file(path: Path, content: Image | bytes | memoryview) -> Begun:
    """Hash the content, and hand it to the system under a temporary name.

    An image is left for `finish_file` to write from its memory, which may not change before, where the file system
    takes memory without a copy: the copy costs more than the checksum, and takes the processor from the model.
    """
    part = path.with_name(path.name + PART)
    if isinstance(content, Image):
        view, direct = content.view(content.n_bytes), _opens_directly(part)
    else:
        view, direct = memoryview(content), False
    digest = hashlib.sha256()
    try:
        if direct:
            digest.update(view)
        else:
            # Of a large file, hash and copy run side by side.
            with part.open("wb", buffering=0) as file, ThreadPoolExecutor(max_workers=1) as beside:
                hashed = beside.submit(digest.update, view)
                _write_all(file, view)
                hashed.result()
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    entry = {"file": path.name, "bytes": len(view), "sha256": digest.hexdigest()}
    return Begun(path, part, entry, content if isinstance(content, Image) and direct else None)


def finish_file(begun: Begun) -> dict[str, Any]:
    """Wait until the content is on the disk, then give the file its name; returns its entry."""
    try:
        if begun.image is not None:
            _write_directly(begun.part, begun.image)
        with begun.part.open("rb+") as file:
            os.fsync(file.fileno())
            if hasattr(os, "posix_fadvise"):
                # A store may be larger than memory: it should push nothing else out of the system's cache.
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        os.replace(begun.part, begun.path)
    except BaseException:
        begun.part.unlink(missing_ok=True)
        raise
    sync_folder(begun.path.parent)
    return begun.entry


def sync_folder(folder: Path) -> None:
    """Make renames and removals in a folder survive a power cut."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _opens_directly(part: Path) -> bool:
    """Whether the file system says that it takes memory without a copy; leaves an empty file there if so."""
    if _DIRECT is None:
        return False
    try:
        os.close(os.open(part, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | _DIRECT, 0o666))
    except OSError:
        # What else is wrong shows, with its own reason, when the file is opened as usual.
        return False
    return True


def _write_directly(part: Path, image: Image) -> None:
    """Write whole pages past the system's cache, then cut the file to its length."""
    view = image.view(whole_pages(image.n_bytes))
    try:
        with _opened_directly(part) as file:
            done = _write_all(file, view, unit=PAGE)
    except OSError as err:
        # Some file systems open a file so and then refuse; a full disk may end a write within a page.
        if err.errno != errno.EINVAL:
            raise
        done = 0
    with part.open("rb+", buffering=0) as file:
        file.seek(done)
        _write_all(file, view[done : image.n_bytes])
        file.truncate(image.n_bytes)


def _opened_directly(part: Path) -> io.FileIO:
    return io.FileIO(os.open(part, os.O_WRONLY | (_DIRECT or 0)), "wb")


def _write_all(file: io.FileIO, view: memoryview, unit: int = 1) -> int:
    """Write until all is written, or until the system took a part that is no multiple of `unit`; returns how much."""
    done = 0
    while done < len(view):
        done += file.write(view[done:])
        if done % unit:
            return done - done % unit
    return done
