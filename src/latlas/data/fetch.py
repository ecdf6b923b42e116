"""Downloads a named set from the first mirror whose files have the right SHA-256; leaves no incomplete file."""

from __future__ import annotations

import errno
import hashlib
import logging
import shutil
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from latlas.data.catalogue import Named, data_home, named
from latlas.data.named import is_archive, missing_files
from latlas.errors import InputError, LatlasError
from latlas.files import usual_mode
from latlas.progress import OnProgress
from latlas.temporaries import sweep, temporary

_TIMEOUT = 30.0  # seconds to wait for an answer, or for its next piece
# Another mirror does not help with these.
_DISK_ERRORS = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS))


def fetch(
    name: str, data_dir: str = "", progress: OnProgress | None = None, urls: Sequence[str] | None = None
) -> Path:
    """Downloads the files of a named set that are missing, checks their SHA-256, and returns the set's folder.

    `urls` replaces the mirrors: addresses under which the files lie by name.

    Raises InputError for a set that needs no download or where another file is in the way, LatlasError where
    no mirror gave a file or the disk does not take it.
    """
    entry = named(name)
    if not entry.files:
        raise InputError(f"{name} comes with latlas: there is nothing to fetch")
    folder = data_home(data_dir) / entry.folder
    sweep(folder)  # what a process left that was killed once all was there
    if not missing_files(entry, folder):
        return folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Files are downloaded and unpacked in a folder next to their place, and moved there once they are complete.
        with temporary(folder, folder=True) as inside:
            for file, digest in entry.files.items():
                _fetch_one(entry, file, digest, inside, urls or entry.mirrors, progress)
    except OSError as error:
        raise LatlasError(f"{folder}: cannot be written ({error.strerror or error})") from None
    return folder


def _fetch_one(
    entry: Named, file: str, digest: str, inside: Path, mirrors: Sequence[str], progress: OnProgress | None
) -> None:
    folder = inside.parent
    archive = is_archive(file)
    target = (folder / entry.images).parent if archive else folder / file
    if target.exists():
        if archive and not set(entry.image_files(folder)).issubset(target.glob("*")):
            raise InputError(f"{target}: holds a part of the images; move it away and fetch again")
        if not archive and _sha256(target) != digest:
            raise InputError(
                f"{target}: another file than the published one (SHA-256); move it away and fetch again"
            )
        return
    download = _download(file, digest, inside, mirrors, progress)
    if archive:
        _unpack(download, entry.image_files(inside))
        download.unlink()
        download = inside / target.name
    else:
        usual_mode(download)
    download.rename(target)


def _download(
    file: str, digest: str, inside: Path, mirrors: Sequence[str], progress: OnProgress | None
) -> Path:
    import pooch

    # pooch logs each download, which progress shows already.
    pooch.get_logger().setLevel(logging.ERROR)
    bar = _Bar(f"downloading {file}", progress)
    failures = []
    for mirror in mirrors:
        url = mirror.rstrip("/") + "/" + file
        downloader = pooch.HTTPDownloader(progressbar=bar, timeout=_TIMEOUT)
        try:
            return Path(pooch.retrieve(url, f"sha256:{digest}", file, inside, downloader=downloader))
        except Exception as error:  # requests, urllib3 and pooch each raise their own kinds
            if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
                raise
            failures.append(f"{url}: {_reason(error)}")
    raise LatlasError(f"{file} could not be downloaded: " + "; ".join(failures))


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    if "hash" in text and isinstance(error, ValueError):
        return "the SHA-256 of what came is not the published one"
    response = getattr(error, "response", None)
    if response is not None:
        return f"HTTP {response.status_code} {response.reason}"
    if "Timeout" in type(error).__name__:
        return f"no answer within {_TIMEOUT:g} s"
    if "NameResolution" in text or "getaddrinfo" in text or "Name or service" in text:
        return "the host name is not known here (no network?)"
    if "refused" in text:
        return "connection refused"
    if "IncompleteRead" in text or "aborted" in text or "reset" in text:
        return "the connection broke off"
    return text[:120] or type(error).__name__


def _unpack(archive: Path, images: Sequence[Path]) -> None:
    """Extracts the images, which all lie in one folder next to the archive, and nothing else.

    Raises LatlasError where the archive is damaged or lacks images.
    """
    targets = {path.relative_to(archive.parent).as_posix(): path for path in images}
    images[0].parent.mkdir()
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                # Only names that the set has: a member of any other name could point out of the folder.
                target = targets.get(member.name.removeprefix("./"))
                source = tar.extractfile(member) if target and member.isfile() else None
                if target and source:
                    with target.open("wb") as file:
                        shutil.copyfileobj(source, file)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise LatlasError(f"{archive.name}: damaged archive ({error})") from None
    count = len(list(images[0].parent.iterdir()))
    if count != len(images):
        raise LatlasError(f"{archive.name}: holds {count:,} images, expected {len(images):,}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Bar:
    """The progress bar that pooch asks for; it calls `progress`."""

    def __init__(self, what: str, progress: OnProgress | None) -> None:
        self.what = what
        self.progress = progress
        self.total = 0
        self.done = 0

    def update(self, count: int) -> None:
        self.done = min(self.done + count, self.total)
        if self.progress is not None:
            self.progress(self.what, self.done, self.total)

    def reset(self) -> None:
        self.done = 0

    def close(self) -> None:
        self.done = 0
