"""Pictures: opened within bounds, encoded anew without what their makers left in them, and small ones for lists."""

import hashlib
import io
import warnings

from PIL import Image, ImageOps, UnidentifiedImageError

from app.domain.documents import ParseFailed, Picture
from app.ingest.caps import PictureCaps

_USUAL = ("PNG", "JPEG", "GIF", "BMP")  # known to the library without loading its other readers
# those that need no other program: EPS would start Ghostscript
_RARE = ("JPEG2000", "TIFF", "WEBP", "AVIF", "ICO", "PCX", "TGA", "PSD", "PCD")
_BROKEN = (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, OverflowError)
_LOSSLESS_BYTES = 400_000  # larger ones become JPEG


def open_picture(data: bytes, filename: str, caps: PictureCaps) -> Image.Image:
    """Return the picture, not decoded yet.

    Raises:
        ParseFailed: of no kind we read, damaged, or with more pixels than are decoded.
    """
    Image.MAX_IMAGE_PIXELS = None  # the cap is ours, checked on the header before anything is decoded
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture = _opened(data)
    except _BROKEN as error:
        raise ParseFailed(
            f"{filename} is damaged, or a kind of picture that is not read. Save it as PNG or JPEG."
        ) from error
    check_pixels(picture, filename, caps)
    return picture


def _opened(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=_USUAL)
    except UnidentifiedImageError:
        Image.init()
        return Image.open(io.BytesIO(data), formats=[name for name in _RARE if name in Image.OPEN])


def check_pixels(picture: Image.Image, filename: str, caps: PictureCaps) -> None:
    """Refuse a picture that would decode to too many pixels."""
    width, height = picture.size
    if width * height > caps.pixels:
        raise ParseFailed(
            f"{filename} is {width} x {height} pixels large; at most {caps.pixels // 10**6} million are read."
        )


def upright(picture: Image.Image, filename: str, side_px: int) -> Image.Image:
    """Decode the picture's current frame, turned as its camera says, no longer on a side than `side_px`.

    Raises:
        ParseFailed: damaged.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if max(picture.size) > 2 * side_px:
                picture.draft(None, (side_px, side_px))  # JPEG decodes smaller at once
            frame = ImageOps.exif_transpose(picture)
            frame = frame.convert("RGBA" if _has_alpha(frame) else "L" if frame.mode in {"1", "L", "I;16"} else "RGB")
            frame.thumbnail((side_px, side_px))
    except _BROKEN as error:
        raise ParseFailed(f"{filename} is damaged: the picture breaks off.") from error
    return frame


def flat(picture: Image.Image) -> Image.Image:
    """Return the picture on white, without transparency."""
    if picture.mode != "RGBA":
        return picture
    ground = Image.new("RGB", picture.size, "white")
    ground.paste(picture, mask=picture.getchannel("A"))
    return ground


def encode(picture: Image.Image) -> Picture:
    """Return the picture as PNG where that is small, else as JPEG on white."""
    if picture.width * picture.height <= 4_000_000:
        png = _bytes(picture, "PNG")
        if len(png) <= _LOSSLESS_BYTES:
            return Picture(data=png, media_type="image/png")
    return Picture(data=jpeg(picture), media_type="image/jpeg")


def jpeg(picture: Image.Image) -> bytes:
    """Return the picture as JPEG on white."""
    return _bytes(flat(picture), "JPEG")


def thumbnail(picture: Image.Image, caps: PictureCaps) -> bytes:
    """Return a small PNG."""
    small = flat(picture).copy()
    small.thumbnail((caps.thumbnail_px, caps.thumbnail_px))
    return _bytes(small, "PNG")


def _bytes(picture: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    if kind == "PNG":
        picture.save(file, kind)
    else:
        picture.save(file, kind, quality=82)
    return file.getvalue()


def _has_alpha(picture: Image.Image) -> bool:
    return picture.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in picture.info


class Gallery:
    """The pictures of one document: each kept once, within the caps; `notes` tells what was left out."""

    def __init__(self, caps: PictureCaps) -> None:
        self._caps = caps
        self._known: dict[bytes, int | None] = {}
        self._bytes = 0
        self._unread = 0
        self._left_out = 0
        self.pictures: list[Picture] = []

    def add(self, data: bytes) -> int | None:
        """Return the index of the picture, None if it is too small to mean anything, unreadable or over the caps."""
        key = hashlib.blake2b(data, digest_size=16).digest()
        if key not in self._known:
            self._known[key] = self._encoded(data)
        return self._known[key]

    def add_drawn(self, picture: Image.Image) -> int | None:
        """Take an image drawn here, of a page."""
        return self.keep(Picture(data=jpeg(picture), media_type="image/jpeg"))

    @property
    def is_full(self) -> bool:
        """Tell whether no further picture would be kept."""
        return len(self.pictures) >= self._caps.count or self._bytes >= self._caps.bytes_in_all

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out, for the document's log."""
        unread = f"{self._unread} pictures are damaged or of a kind that is not read, and were left out."
        too_many = f"{self._left_out} more pictures were left out."
        return (*((unread,) if self._unread else ()), *((too_many,) if self._left_out else ()))

    def _encoded(self, data: bytes) -> int | None:
        if len(self.pictures) >= self._caps.count:
            self._left_out += 1
            return None
        try:
            picture = open_picture(data, "", self._caps)
            if min(picture.size) < self._caps.smallest_px:
                return None
            return self.keep(encode(upright(picture, "", self._caps.side_px)))
        except ParseFailed:
            self._unread += 1
            return None

    def keep(self, picture: Picture) -> int | None:
        """Take a picture that is encoded already; None if that is over the caps."""
        if len(self.pictures) >= self._caps.count or self._bytes + len(picture.data) > self._caps.bytes_in_all:
            self._left_out += 1
            return None
        self._bytes += len(picture.data)
        self.pictures.append(picture)
        return len(self.pictures) - 1
