"""Origins of web pages, written as browsers write them."""

import re

_ORIGIN = re.compile(r"(https?)://([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(\d{1,5}))?/?", re.ASCII | re.IGNORECASE)
_DEFAULT_PORTS = {"http": 80, "https": 443}


def page_origin(text: str) -> str | None:
    """Return scheme, host and port in small letters, the port only where it is not the scheme's own.

    None: it is no origin of a page on the web.
    """
    found = _ORIGIN.fullmatch(text)
    if found is None:
        return None
    scheme, host = found[1].lower(), found[2].lower()
    port = int(found[3] or _DEFAULT_PORTS[scheme])
    return f"{scheme}://{host}" + (f":{port}" if port != _DEFAULT_PORTS[scheme] else "")
