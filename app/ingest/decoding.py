"""Bytes to text that Postgres can hold."""

import codecs
import re

from charset_normalizer import from_bytes

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16: its mark begins with the other's
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_LEGACY = [
    "cp1252", "cp1251", "koi8_r", "cp1250", "cp1253", "cp1254", "cp1255", "cp1256",
    "cp932", "gb18030", "big5", "euc_kr", "euc_jp",
]  # fmt: skip
_MULTIBYTE = {"cp932", "shift_jis", "shift_jis_2004", "gb18030", "gbk", "big5", "cp950", "euc_kr", "cp949", "euc_jp"}
_SAMPLE_BYTES = 64 * 1024
_BEFORE_BYTES = 1024  # of a line before its first byte that tells
_CYRILLIC_LETTERS = frozenset(range(0xC0, 0x100)) | {0xA8, 0xB8}
_HIGH = re.compile(rb"[\x80-\xff]")
_HIGH_RUN = re.compile(rb"[\x80-\xff]+")
_UNSTORABLE = re.compile("[\ud800-\udfff]")
_NOT_TEXT = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


def clean(text: str) -> str:
    """Return `text` without NUL, with U+FFFD for lone surrogates and `\\n` for every line end."""
    return _UNSTORABLE.sub("\ufffd", text.replace("\0", "")).replace("\r\n", "\n").replace("\r", "\n")


def decode(data: bytes) -> str:
    """Return the text of `data`: byte order mark, then UTF-8, then a guess among the legacy encodings."""
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return clean(data[len(mark) :].decode(encoding, errors="replace"))
    if b"\0" in data[:_SAMPLE_BYTES] and (wide := _wide_encoding(data)):
        return clean(data.decode(wide, errors="replace"))
    try:
        return clean(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        if error.end >= len(data) - 3 and error.start > 0 and _HIGH_RUN.search(data[: error.start]):
            return clean(data.decode("utf-8", errors="replace"))  # good UTF-8, cut off in its last character
    return clean(data.decode(_legacy_encoding(data), errors="replace"))


def looks_binary(data: bytes) -> bool:
    """Tell whether `data` is no text in any encoding we know (control bytes all over)."""
    sample = data[:_SAMPLE_BYTES]
    if any(sample.startswith(mark) for mark, _ in _BOMS) or _wide_encoding(sample):
        return False
    return len(_NOT_TEXT.findall(sample)) > max(2, len(sample) // 50)


def _wide_encoding(data: bytes) -> str | None:
    """Return the UTF-16 that `data` is without saying so: one half of its bytes is mostly NUL, the other has none."""
    sample = data[:_SAMPLE_BYTES]
    even, odd = sample[0::2], sample[1::2]
    if len(odd) < 2:
        return None
    if odd.count(0) > 0.5 * len(odd) and even.count(0) < 0.05 * len(even):
        return "utf-16-le"
    if even.count(0) > 0.5 * len(even) and odd.count(0) < 0.05 * len(odd):
        return "utf-16-be"
    return None


def _telling_lines(data: bytes) -> bytes:
    """Return the first lines that are not plain ASCII, very long ones in part: all else would drown what tells."""
    lines: list[bytes] = []
    size = at = 0
    while size < _SAMPLE_BYTES and (found := _HIGH.search(data, at)) is not None:
        start, end = data.rfind(b"\n", at, found.start()) + 1 or at, data.find(b"\n", found.start())
        at = len(data) if end < 0 else end + 1
        start = max(start, found.start() - _BEFORE_BYTES)
        lines.append(data[start : min(at, start + _SAMPLE_BYTES)])
        size += len(lines[-1])
    return b"".join(lines)[:_SAMPLE_BYTES]


def _legacy_encoding(data: bytes) -> str:
    """Guess; the library decides, except where its statistics fail on short texts."""
    sample = _telling_lines(data)
    runs = _HIGH_RUN.findall(sample)
    high = b"".join(runs)
    guess = from_bytes(sample, cp_isolation=_LEGACY).best()
    name = guess.encoding if guess else "cp1252"
    if name in _MULTIBYTE and len(high) > 1.9 * len(runs):
        return name
    if len(high) > 2 * len(runs):  # whole words of high bytes: not a Latin alphabet
        cyrillic = sum(byte in _CYRILLIC_LETTERS for byte in high) > 0.9 * len(high)
        capitals_inside = sum(0xC0 <= b < 0xE0 for run in runs for b in run[1:]) > 0.5 * len(high)
        if cyrillic and name not in {"cp1253", "cp1255", "cp1256"}:
            return "koi8_r" if capitals_inside and name == "koi8_r" else "cp1251"
        return name
    if (
        name == "cp1250"
        and len({b for b in high if bytes([b]).decode("cp1252", "ignore") != bytes([b]).decode("cp1250", "ignore")})
        >= 4
    ):
        return "cp1250"
    return "cp1252"
