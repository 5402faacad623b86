"""OLE containers (the format of MSG, DOC, XLS and PPT files) written on the spot: version 3, streams and storages."""

import struct
from dataclasses import dataclass

_SECTOR = 512
_FREE, _END, _FAT = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD
Tree = dict[str, "bytes | Tree"]


@dataclass
class _Entry:
    name: str
    kind: int  # 1 storage, 2 stream, 5 root
    data: bytes = b""
    child: int = _FREE
    right: int = _FREE


def make_ole(tree: Tree) -> bytes:
    """Return a container with the streams (bytes) and storages (dicts) of `tree`.

    Shorter streams are filled up with NUL to 4096 bytes, so that none needs the small-stream part of the format.
    """
    entries = [_Entry("Root Entry", 5)]
    _add(entries, 0, tree)
    sectors: list[bytes] = []
    table: list[int] = []
    starts: list[int] = []
    for entry in entries:
        if entry.kind != 2:
            starts.append(_END if entry.kind == 5 else 0)
            continue
        data = entry.data = entry.data.ljust(4096, b"\0")
        starts.append(len(table))
        _chain(sectors, table, data)
    listing = b"".join(_packed(entry, start) for entry, start in zip(entries, starts, strict=True))
    directory = len(table)
    _chain(sectors, table, listing.ljust(-(-len(listing) // _SECTOR) * _SECTOR, b"\0"))
    count = 1
    while len(table) + count > count * 128:
        count += 1
    fat_at = len(table)
    table += [_FAT] * count
    table += [_FREE] * (count * 128 - len(table))
    fat = struct.pack(f"<{len(table)}I", *table)
    header = struct.pack(
        "<8s16sHHHHH6sIIIIIIIIII", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"", 0x3E, 3, 0xFFFE, 9, 6, b"", 0, count,
        directory, 0, 4096, _END, 0, _END, 0, fat_at,
    )  # fmt: skip
    header += struct.pack(f"<{108}I", *range(fat_at + 1, fat_at + count), *[_FREE] * (109 - count))
    return header + b"".join(sectors) + fat


def _add(entries: list[_Entry], parent: int, tree: Tree) -> None:
    previous: int | None = None
    for name, value in sorted(tree.items(), key=lambda item: (len(item[0]), item[0].upper())):
        index = len(entries)
        entries.append(_Entry(name, 2, value) if isinstance(value, bytes) else _Entry(name, 1))
        if previous is None:
            entries[parent].child = index
        else:
            entries[previous].right = index
        previous = index
        if isinstance(value, dict):
            _add(entries, index, value)


def _chain(sectors: list[bytes], table: list[int], data: bytes) -> None:
    for offset in range(0, len(data), _SECTOR):
        sectors.append(data[offset : offset + _SECTOR].ljust(_SECTOR, b"\0"))
        table.append(len(table) + 1)
    table[-1] = _END


def _packed(entry: _Entry, start: int) -> bytes:
    name = (entry.name + "\0").encode("utf-16-le")
    return struct.pack(
        "<64sHBBIII16sIQQIQ", name, len(name), entry.kind, 1, _FREE, entry.right, entry.child, b"", 0, 0, 0, start,
        len(entry.data),
    )  # fmt: skip


def make_msg(attachment: tuple[str, bytes] | None = ("table.csv", b"a,b\n" + b"1,2\n" * 2000)) -> bytes:
    """An Outlook message: subject, sender, recipient, plain body, one attachment."""

    def text(value: str) -> bytes:
        return value.encode("utf-16-le")

    def properties(*rows: tuple[int, int, int], head: int) -> bytes:
        return b"\0" * head + b"".join(struct.pack("<IIQ", tag << 16 | kind, 6, size) for tag, kind, size in rows)

    fields = {
        0x001A: "IPM.Note", 0x0037: "Réfunds policy", 0x0C1A: "Ann Smith", 0x0C1F: "ann@example.org",
        0x0E04: "Bob", 0x0042: "Ann Smith", 0x1000: "Dear Bob,\r\nRefunds are paid within thirty days.\r\nAnn",
        0x007D: "From: Ann Smith <ann@example.org>\r\nTo: Bob <bob@example.org>\r\n"
                "Subject: =?utf-8?q?R=C3=A9funds?= policy\r\n"
                "Date: Mon, 2 Jun 2025 10:00:00 +0000\r\nReceived: from somewhere\r\n",
    }  # fmt: skip
    streams: Tree = {f"__substg1.0_{tag:04X}001F": text(value) for tag, value in fields.items()}
    rows = [(tag, 0x1F, len(value) * 2 + 2) for tag, value in fields.items()]
    streams["__properties_version1.0"] = properties(*rows, head=32)
    streams["__nameid_version1.0"] = {
        "__substg1.0_00020102": b"",
        "__substg1.0_00030102": b"",
        "__substg1.0_00040102": b"",
    }
    streams["__recip_version1.0_#00000000"] = {
        "__substg1.0_3001001F": text("Bob"),
        "__substg1.0_3003001F": text("bob@example.org"),
        "__properties_version1.0": properties((0x0C15, 3, 1), head=8),
    }
    if attachment:
        name, data = attachment
        streams["__attach_version1.0_#00000000"] = {
            "__substg1.0_3707001F": text(name),
            "__substg1.0_3704001F": text(name),
            "__substg1.0_37010102": data,
            "__properties_version1.0": properties((0x3705, 3, 1), (0x3701, 0x102, len(data)), head=8),
        }
    return make_ole(streams)
