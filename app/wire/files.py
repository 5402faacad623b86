"""Files, folders and links as JSON values (knowledge.md 6)."""

from typing import Any

from app.domain.files import File, FileLink, ListedFile
from app.wire.envelope import times


def file(stored: File) -> dict[str, Any]:
    """Return the file object."""
    return {
        "id": stored.id,
        "parent_id": stored.parent_id,
        "tenant_id": stored.tenant_id,
        "created_by": stored.tenant_id,
        "name": stored.name,
        "location": "" if stored.blob_key is None else stored.name,
        "size": stored.size_bytes,
        "type": stored.type,
        "source_type": stored.source_type,
        **times(stored.created_at, stored.updated_at),
    }


def listed(one: ListedFile) -> dict[str, Any]:
    """Return the file object as lists show it."""
    told = file(one.file) | {
        "size": one.size_bytes,
        "kbs_info": [{"kb_id": dataset_id, "kb_name": name} for dataset_id, name in one.datasets],
    }
    if one.file.is_folder:
        told["has_child_folder"] = one.has_child_folder
    return told


def link(made: FileLink) -> dict[str, Any]:
    """Return the link of a file and a document."""
    return {
        "id": made.id,
        "file_id": made.file_id,
        "document_id": made.document_id,
        **times(made.created_at, made.updated_at),
    }
