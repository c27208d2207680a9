"""Files at paths, on web servers and at other fsspec URLs; fsspec is imported only when a URL needs it."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from ecd_data.errors import MissingDependencyError, StoreError
from ecd_data.io.network import refuse_remote_url

FileState = tuple[int, int, int]  # inode, size and time of change of a file

FILE = "file://"
WEB = ("http://", "https://")


def read_url(url: str, start: int | None = None, end: int | None = None) -> bytes:
    """The bytes of a file from `start` up to `end`; all bytes where a web server does not support ranges.

    Parameters
    ----------
    url : a path or fsspec URL.
    start, end : the first byte and the byte after the last, the whole file by default.

    Raises
    ------
    FileNotFoundError : there is no such file.
    StoreError : the file cannot be read.
    """
    if (path := local_path(url)) is not None:
        return _read_local(path, start, end)
    if is_plain_web(url):
        from ecd_data.io.web_files import read_web

        return read_web(url, start, end)
    data: bytes = _call_filesystem(url, lambda fs, path: fs.cat_file(path, start=start, end=end))
    return data


def open_url(url: str, small: int) -> IO[bytes] | io.RawIOBase | bytes:
    """An open file of which parts can be read; the bytes instead where a file at a URL has at most `small` of them.

    Raises
    ------
    FileNotFoundError : there is no such file.
    StoreError : the file cannot be read.
    """
    if (path := local_path(url)) is not None:
        return _open_local(path)
    if is_plain_web(url):
        from ecd_data.io.web_files import open_web

        return open_web(url, small)
    file: IO[bytes] | None = _call_filesystem(url, lambda fs, path: _open_partial(fs, path, small))
    return file or read_url(url)


def url_exists(url: str) -> bool:
    """Whether a file exists at a path or fsspec URL."""
    if (path := local_path(url)) is not None:
        return Path(path).exists()
    return bool(_call_filesystem(url, lambda fs, path: fs.exists(path)))


def file_state(url: str) -> FileState | None:
    """A value that changes when a file is replaced; None for a missing file and for a URL."""
    if (path := local_path(url)) is None:
        return None
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def local_path(url: str) -> str | None:
    """The path of a URL on this machine; None where the URL is elsewhere."""
    if url.startswith(FILE):
        return url.removeprefix(FILE)
    if "://" in url:
        return None
    return None if "::" in url and not os.path.exists(url) else url  # a folder may have `::` in its name


def is_plain_web(url: str) -> bool:
    """Whether our own client reads a URL: a plain web address, and fsspec has no settings (headers, proxies) for it."""
    settings = os.environ.get("FSSPEC_CONFIG_DIR") or os.path.expanduser("~/.config/fsspec")
    configured = os.path.isdir(settings) or any(name.startswith("FSSPEC_HTTP") for name in os.environ)
    return url.startswith(WEB) and "::" not in url and not configured


def _read_local(path: str, start: int | None, end: int | None) -> bytes:
    with _open_local(path) as file:
        try:
            if end is not None:  # reading far beyond the end would first take memory for all of it
                end = min(end, os.fstat(file.fileno()).st_size)
            file.seek(start or 0)
            return file.read() if end is None else file.read(max(0, end - (start or 0)))
        except OSError as error:
            raise StoreError(f"{path} cannot be read ({error.strerror}): check the disk") from error


def _open_local(path: str) -> IO[bytes]:
    try:
        return open(path, "rb")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(path) from error
    except OSError as error:
        raise StoreError(f"{path} cannot be read ({error.strerror}): check the path and the disk") from error


def _call_filesystem(url: str, act: Callable[[Any, str], Any]) -> Any:
    """The result of `act` for the file system and the path of a URL; its errors become ours."""
    refuse_remote_url(url)
    try:
        import fsspec

        return act(*fsspec.url_to_fs(url))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(url) from error
    except ImportError as error:
        raise missing_backend(url, error) from error
    except Exception as error:  # every fsspec backend raises its own errors
        raise StoreError(f"{url} cannot be read ({error or type(error).__name__}): check the URL") from error


def missing_backend(url: str, error: ImportError) -> MissingDependencyError:
    """The error for a URL whose protocol needs a package that is not installed."""
    remedy = "pip install 'ecd-data[s3]' installs what it needs" if url.startswith(("s3://", "s3a://")) else str(error)
    return MissingDependencyError(f"{url} cannot be read: {remedy}")


def _open_partial(fs: Any, path: str, small: int) -> IO[bytes] | None:
    """An open file that reads only the requested bytes; None for small files and servers without sizes or ranges."""
    size = fs.size(path)
    if size is None or size <= small:
        return None
    try:
        file: IO[bytes] = fs.open(path, "rb", cache_type="none")
        file.seek(size - 1)
        return file if len(file.read(1)) == 1 else None
    except Exception:  # every fsspec backend raises its own errors
        return None
