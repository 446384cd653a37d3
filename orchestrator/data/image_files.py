"""Which files of a folder are images, which are passed over, and which are refused so that no image is lost."""

from collections.abc import Iterable
from pathlib import Path

from orchestrator.data.errors import as_data_error
from orchestrator.errors import DataError
from orchestrator.text import listed

SUFFIXES = frozenset((".bmp", ".dib", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm"))
SUFFIXES |= {".ppm", ".tif", ".tiff", ".webp"}
# Images that are not decoded here: to pass them over would lose them.
UNREAD = frozenset((".arw", ".avif", ".cr2", ".dcm", ".dng", ".eps", ".exr", ".fits", ".hdr", ".heic", ".heif"))
UNREAD |= {".ico", ".j2k", ".jp2", ".jxl", ".nef", ".psd", ".svg", ".tga"}
# What operating systems leave in folders, in lower case, as well as everything that begins with a dot.
SYSTEM = frozenset(("$recycle.bin", "@eadir", "__macosx", "desktop.ini", "ehthumbs.db", "lost+found", "thumbs.db"))
SYSTEM |= {"system volume information"}
HEAD = 32  # bytes at the start of a file, of which a kind is recognised


def visible(folder: Path) -> list[Path]:
    """What is in ``folder``, in order, without hidden files and those of operating systems."""
    with as_data_error(folder):
        return sorted(p for p in folder.iterdir() if not p.name.startswith(".") and p.name.lower() not in SYSTEM)


def image_files(folder: Path, passed_over: list[Path]) -> list[Path]:
    """The images in ``folder`` and in the folders within it, in order; other files are added to ``passed_over``.

    As torchvision's ImageFolder goes by the ends of files' names. But an image that has another name, or is of a kind
    that is not read, is refused with a DataError that names it.
    """
    return _image_files(folder, passed_over, ())


def _image_files(folder: Path, passed_over: list[Path], above: tuple[Path, ...]) -> list[Path]:
    with as_data_error(folder):
        here = folder.resolve()
    if here in above:
        raise DataError(f"{folder}: a link to a folder that it lies in")
    found: list[Path] = []
    for path in visible(folder):
        if path.is_dir():
            found += _image_files(path, passed_over, (*above, here))
        elif is_image(path):
            found.append(path)
        else:
            passed_over.append(path)
    return found


def is_image(path: Path) -> bool:
    """Whether the name of a file says so. Raises DataError if it is one that cannot be read, or not by this name."""
    suffix = path.suffix.lower()
    if suffix in UNREAD:
        raise DataError(f"{path}: images of this kind ({suffix}) are not read; convert it to PNG or JPEG, or remove it")
    if suffix in SUFFIXES:
        if not path.is_file():  # a broken link, a pipe that would never end
            raise DataError(f"{path}: not an image file")
        return True
    if path.is_file():
        with as_data_error(path), path.open("rb") as file:
            kind = recognised(file.read(HEAD))
        if kind:
            raise DataError(
                f"{path}: holds {kind}, but images are known by the ends of their names "
                f"({', '.join(sorted(SUFFIXES))}); rename or remove it"
            )
    return False


def recognised(head: bytes) -> str | None:
    """What kind of image a file begins like, or None."""
    starts = {b"\x89PNG\r\n\x1a\n": "a PNG", b"\xff\xd8\xff": "a JPEG", b"GIF87a": "a GIF", b"GIF89a": "a GIF"}
    starts |= {b"II*\0": "a TIFF", b"MM\0*": "a TIFF", b"\0\0\0\x0cjP  ": "a JPEG 2000"}
    kind = next((named for start, named in starts.items() if head.startswith(start)), None)
    if head.startswith(b"BM") and head[6:10] == bytes(4):  # text may begin with these letters
        kind = "a BMP"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        kind = "a WebP"
    if head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"mif1", b"avif", b"avis"):
        kind = "a HEIF"
    return kind and f"{kind} image"


def passed_over_note(folder: Path, paths: Iterable[Path]) -> tuple[str, ...]:
    """The line that says which files were passed over; none if there were none."""
    names = [str(path.relative_to(folder)) for path in paths]
    return (f"{folder}: passed over, by their names no images: {listed(names)}",) if names else ()
