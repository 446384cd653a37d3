"""Encoded images in, one uint8 tensor out: decoding, orientation, colour, resizing, and every reason to refuse one."""

import warnings
import zlib
from collections.abc import Iterable
from io import BytesIO
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from orchestrator.data.channels import to_channels
from orchestrator.data.errors import as_data_error, require
from orchestrator.errors import DataError

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP")  # none of which starts another program, as EPS does
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")  # 8 bits a channel: the others would be clipped
MAX_PIXELS = 2**26  # 8192 × 8192, 200 MB decoded; Pillow itself only warns below 179 million
CHUNK_BYTES = 2**25  # decoded images turned into one tensor at a time
ORIENTATION, UPRIGHT = 0x0112, 1  # a tag of EXIF, and its value for an image that stands as it is stored
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


class ImageDecoder:
    """Decodes the images of one dataset and brings them to one size.

    With ``image_size`` (pixels) every image is resized to that square. Without, the first image's size is the
    dataset's size, in every split, and an image of another size is refused. ``channels`` is 3, or 1 for grey.
    """

    def __init__(self, image_size: int | None, channels: int | None = None) -> None:
        self._image_size = image_size
        self._channels = channels or 3
        self._size: tuple[int, int] | None = None  # height and width of the first image
        self._first = ""
        self.turned = 0  # images that the orientation of EXIF turned or mirrored
        self.transparent = 0  # images with an alpha channel that mattered, composited onto white

    def decode(self, images: Iterable[tuple[str, bytes]]) -> Tensor:
        """Decode ``(where, content)`` pairs, in order, to (N, C, H, W) uint8.

        With three channels grey becomes three equal ones, with one channel colour becomes grey; palettes are looked up;
        the orientation of EXIF is applied; what is transparent is composited onto white. Raises DataError that opens
        with ``where`` for an image that cannot be decoded, has another size or has nothing left on white, or if there
        are none.
        """
        library = require("PIL.Image", "pillow", "decoding images")
        require("PIL.ImageOps", "pillow", "decoding images")
        chunks: list[Tensor] = []
        pending, pending_size = bytearray(), (0, 0)
        with warnings.catch_warnings(action="ignore"):  # Pillow's of odd metadata; an image is decoded or refused
            for where, content in images:
                pixels, size, turned, transparent = _decode(library, where, content)
                self.turned += turned
                self.transparent += transparent
                self._check_size(where, size)
                if pending and (size != pending_size or len(pending) >= CHUNK_BYTES):
                    chunks.append(self._tensor(pending, pending_size))
                    pending = bytearray()
                pending += pixels
                pending_size = size
        if not pending:
            raise DataError("there are no images to read")
        chunks.append(self._tensor(pending, pending_size))
        return torch.cat(chunks)

    def notes(self) -> tuple[str, ...]:
        """What a person should know of what was read."""
        counts = {
            "images turned upright, as EXIF says": self.turned,
            "images with an alpha channel, composited onto white": self.transparent,
        }
        return tuple(f"{what}: {count:,}" for what, count in counts.items() if count)

    def _check_size(self, where: str, size: tuple[int, int]) -> None:
        if self._size is None:
            self._size, self._first = size, where
        if self._image_size is None and size != self._size:
            raise DataError(
                f"{where}: this image is {size[1]} × {size[0]} pixels, but {self._first} is "
                f"{self._size[1]} × {self._size[0]}; make them equal or set the dataset's image_size"
            )

    def _tensor(self, pixels: bytearray, size: tuple[int, int]) -> Tensor:
        images = torch.frombuffer(pixels, dtype=torch.uint8).view(-1, *size, 3).permute(0, 3, 1, 2)
        sized = images.contiguous() if self._image_size is None else resize(images, self._image_size)
        return to_channels(sized, self._channels)


def resize(images: Tensor, size: int) -> Tensor:
    """Bilinear with antialiasing to ``size`` × ``size`` pixels.

    images: (N, C, H, W), uint8 or float from 0 to 255. Returns (N, C, size, size) uint8, rounded.
    """
    values = images.float()
    if images.shape[-2:] != (size, size):
        values = F.interpolate(values, size=(size, size), mode="bilinear", antialias=True)
    return values.round().clamp(0, 255).to(torch.uint8).contiguous()


def _decode(library: Any, where: str, content: bytes) -> tuple[bytes, tuple[int, int], bool, bool]:
    """The image's pixels as (H, W, 3) bytes, its height and width, and whether it was turned and put onto white.

    ``library`` is PIL.Image.
    """
    with as_data_error(where):
        if content.startswith(PNG_SIGNATURE):
            _check_png(where, content)
        with library.open(BytesIO(content), formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise DataError(f"{where}: {width} × {height} pixels; at most {MAX_PIXELS:,} are decoded")
            if image.mode not in MODES:
                raise DataError(f"{where}: colour mode {image.mode}; allowed, with 8 bits: {', '.join(MODES)}")
            turned = image.getexif().get(ORIENTATION, UPRIGHT) in range(UPRIGHT + 1, 9)  # a TIFF forgets it later
            upright = require("PIL.ImageOps", "pillow", "decoding images").exif_transpose(image)
            transparent = upright.has_transparency_data and upright.convert("RGBA").getextrema()[3] != (255, 255)
            rgb = _on_white(library, where, upright) if transparent else upright.convert("RGB")
            return rgb.tobytes(), (rgb.height, rgb.width), turned, transparent


def _on_white(library: Any, where: str, image: Any) -> Any:
    """The image on a white ground. Raises DataError if all that it shows is in its alpha channel and vanishes there."""
    layers = image.convert("RGBA")
    rgb = library.alpha_composite(library.new("RGBA", layers.size, "white"), layers).convert("RGB")
    low, high = layers.getextrema()[3]
    if low != high and all(darkest == brightest for darkest, brightest in rgb.getextrema()):
        raise DataError(
            f"{where}: its shape is in its alpha channel alone and nothing is left of it on white; draw it in another "
            "colour than white, or on a ground of its own"
        )
    return rgb


def _check_png(where: str, content: bytes) -> None:
    """Raise DataError unless every chunk up to the end mark has its checksum; Pillow does not look at the pixels'."""
    position = len(PNG_SIGNATURE)
    kind = b""
    while kind != b"IEND":
        end = position + 8 + int.from_bytes(content[position : position + 4], "big")
        kind = content[position + 4 : position + 8]
        if end + 4 > len(content):
            raise DataError(f"{where}: damaged, this PNG image is cut short")
        if zlib.crc32(content[position + 4 : end]) != int.from_bytes(content[end : end + 4], "big"):
            raise DataError(f"{where}: damaged, a part of this PNG image does not match its checksum")
        position = end + 4
