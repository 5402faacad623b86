"""Text on pictures, read by the program `tesseract` where it is installed."""

import ctypes
import io
import os
import shutil
import signal
import subprocess
import time

from PIL import Image

from app.ingest.caps import OcrCaps
from app.ingest.decoding import clean
from app.ingest.formats.pictures import flat

MISSING = "reading pictures (OCR) needs the program `tesseract`, which is not installed on the server"
_PR_SET_PDEATHSIG = 1
_MAX_LANGUAGES = 4
_NOT_LANGUAGES = {"osd", "equ", "snum"}


class TextReader:
    """Reads pictures of one document within its time and count; once either is used up it reads no more."""

    def __init__(self, caps: OcrCaps) -> None:
        self._caps = caps
        self._program = shutil.which("tesseract")
        self._languages: str | None = None
        self._ends = time.monotonic() + caps.total_s
        self._left = caps.pages
        self.failures = 0

    @property
    def is_installed(self) -> bool:
        """Tell whether there is a program to read with."""
        return self._program is not None

    @property
    def is_spent(self) -> bool:
        """Tell whether the document has had its share."""
        return self._left <= 0 or time.monotonic() >= self._ends

    def read(self, picture: Image.Image) -> str | None:
        """Return the text on the picture, paragraphs parted by empty lines; None if it could not be looked at."""
        if not self._program or self.is_spent:
            return None
        self._left -= 1
        image = flat(picture).convert("L")
        if min(image.size) < 3:
            return ""
        image.thumbnail((self._caps.side_px, self._caps.side_px))
        file = io.BytesIO()
        image.save(file, "PPM")
        output = self._run(["stdin", "stdout", *self._language_arguments()], file.getvalue())
        if output is None:
            self.failures += 1
            return None
        return clean(output.decode(errors="replace")).replace("\f", "\n").strip()

    def _language_arguments(self) -> list[str]:
        if self._languages is None:
            listed = (self._run(["--list-langs"], b"") or b"").decode(errors="replace").split("\n")[1:]
            names = sorted({line.strip() for line in listed} - _NOT_LANGUAGES - {""}, key=lambda name: name != "eng")
            names = [name for name in names if "/" not in name][:_MAX_LANGUAGES]
            self._languages = "+".join(names)
        return ["-l", self._languages] if self._languages else []

    def _run(self, arguments: list[str], data: bytes) -> bytes | None:
        time_left = min(self._caps.page_s, max(1.0, self._ends - time.monotonic()))
        try:
            done = subprocess.run(  # noqa: S603 - the program's own path, our own arguments
                [self._program or "", *arguments],
                input=data,
                capture_output=True,
                timeout=time_left,
                env=os.environ | {"OMP_THREAD_LIMIT": "1"},
                preexec_fn=_die_with_parent,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired, subprocess.SubprocessError):
            return None
        return done.stdout if done.returncode == 0 else None


_libc = ctypes.CDLL(None, use_errno=True)


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
