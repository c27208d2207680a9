"""Files at a path, on a web server or at any other fsspec URL; fsspec loads only where it is needed."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from ecd_data.errors import MissingDependencyError, StoreError

State = tuple[int, int, int]  # of a file: its inode, size and time of change

FILE = "file://"
WEB = ("http://", "https://")


def read_url(url: str, start: int | None = None, end: int | None = None) -> bytes:
    """The bytes of a file at a path or fsspec URL; all of them where a web server has no ranges.

    Raises FileNotFoundError where there is none, StoreError where the place cannot be reached.
    """
    if (path := path_of(url)) is not None:
        return _read(path, start, end)
    if _is_web(url):
        from ecd_data.io.web_files import read_web

        return read_web(url, start, end)
    data: bytes = _reached(url, lambda fs, path: fs.cat_file(path, start=start, end=end))
    return data


def open_url(url: str, small: int) -> IO[bytes] | io.RawIOBase | bytes:
    """A file to read parts of, at a path or fsspec URL; its bytes where it is at a URL and has at most `small` of them.

    Raises as `read_url`.
    """
    if (path := path_of(url)) is not None:
        return _opened(path)
    if _is_web(url):
        from ecd_data.io.web_files import open_web

        return open_web(url, small)
    file: IO[bytes] | None = _reached(url, lambda fs, path: _in_parts(fs, path, small))
    return file or read_url(url)


def exists(url: str) -> bool:
    """Whether there is a file at a path or fsspec URL."""
    if (path := path_of(url)) is not None:
        return Path(path).exists()
    return bool(_reached(url, lambda fs, path: fs.exists(path)))


def file_state(url: str) -> State | None:
    """What changes with a file when it is replaced; None where it is missing, or at a URL."""
    if (path := path_of(url)) is None:
        return None
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def path_of(url: str) -> str | None:
    """The path that a URL is on this machine, None where it lies elsewhere."""
    if url.startswith(FILE):
        return url.removeprefix(FILE)
    if "://" in url:
        return None
    return None if "::" in url and not os.path.exists(url) else url  # `::` may be in the name of a folder


def _is_web(url: str) -> bool:
    """Whether a URL is one of a web server for which fsspec has not been told headers, proxies or the like."""
    settings = os.environ.get("FSSPEC_CONFIG_DIR") or os.path.expanduser("~/.config/fsspec")
    told = os.path.isdir(settings) or any(name.startswith("FSSPEC_HTTP") for name in os.environ)
    return url.startswith(WEB) and "::" not in url and not told


def _read(path: str, start: int | None, end: int | None) -> bytes:
    with _opened(path) as file:
        try:
            if end is not None:  # what is asked for may be far more than there is, and memory for it
                end = min(end, os.fstat(file.fileno()).st_size)
            file.seek(start or 0)
            return file.read() if end is None else file.read(max(0, end - (start or 0)))
        except OSError as error:
            raise StoreError(f"{path} cannot be read ({error.strerror}): check the disk") from error


def _opened(path: str) -> IO[bytes]:
    try:
        return open(path, "rb")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(path) from error
    except OSError as error:
        raise StoreError(f"{path} cannot be read ({error.strerror}): check the place") from error


def _reached(url: str, act: Callable[[Any, str], Any]) -> Any:
    """What `act` gives for the file system and the path of a URL."""
    try:
        import fsspec

        return act(*fsspec.url_to_fs(url))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(url) from error
    except ImportError as error:
        raise unreachable(url, error) from error
    except Exception as error:  # every fsspec backend has errors of its own
        raise StoreError(f"{url} cannot be read ({error or type(error).__name__}): check the place") from error


def unreachable(url: str, error: ImportError) -> MissingDependencyError:
    """The error of a URL whose kind of place needs a package that is not here."""
    brings = "pip install 'ecd-data[s3]' brings what it needs" if url.startswith(("s3://", "s3a://")) else str(error)
    return MissingDependencyError(f"{url} cannot be read: {brings}")


def _in_parts(fs: Any, path: str, small: int) -> IO[bytes] | None:
    """A file that reads no more than it is asked for; None where it is small, or the place gives no parts or sizes."""
    size = fs.size(path)
    if size is None or size <= small:
        return None
    try:
        file: IO[bytes] = fs.open(path, "rb", cache_type="none")
        file.seek(size - 1)
        return file if len(file.read(1)) == 1 else None
    except Exception:  # every fsspec backend says so in its own way
        return None
