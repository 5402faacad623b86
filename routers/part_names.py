"""Names of uploaded files as clients write them: plain, RFC 5987 (`filename*=`), RFC 2047 (`=?utf-8?B?…?=`)."""

import re
from email.errors import HeaderParseError
from email.header import decode_header
from email.message import Message
from email.utils import collapse_rfc2231_value

_WORDS = re.compile(r"\s*(?:=\?[^?\s]{1,40}\?[bBqQ]\?[^?]{0,2000}\?=\s*)+")
_WORD_IN = re.compile(rb'filename\s*=\s*"?\s*=\?', re.IGNORECASE)
_EXTENDED = re.compile(rb"filename\*", re.IGNORECASE)


def encoded_name(disposition: bytes) -> str | None:
    """Return the file name of a `Content-Disposition` that holds it encoded; None when it is plain or absent."""
    if _EXTENDED.search(disposition) is None and _WORD_IN.search(disposition) is None:
        return None
    message = Message()
    message["Content-Disposition"] = disposition.decode("latin-1").replace("\r", " ").replace("\n", " ")
    plain: str | None = None
    for key, value in message.get_params([], header="content-disposition"):
        if key != "filename":
            continue
        if isinstance(value, tuple):  # charset, language, text: RFC 5987 goes before the plain form beside it
            return _collapsed(value)
        plain = value
    return _words(plain) if plain is not None and _WORDS.fullmatch(plain) else None


def _collapsed(value: tuple[str | None, str | None, str]) -> str:
    charset, language, text = value
    try:
        return collapse_rfc2231_value((charset or "utf-8", language, text))
    except (LookupError, ValueError):
        return text


def _words(text: str) -> str | None:
    try:
        return "".join(
            part if isinstance(part, str) else part.decode(charset or "ascii", "replace")
            for part, charset in decode_header(text)
        )
    except (HeaderParseError, LookupError, ValueError):
        return None
