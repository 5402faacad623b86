"""Which files are taken in, and as what (knowledge.md 2.1)."""

from enum import StrEnum


class DocumentType(StrEnum):
    """The `type` of a document."""

    PDF = "pdf"
    DOC = "doc"
    AURAL = "aural"
    VISUAL = "visual"
    OTHER = "other"


_EXTENSIONS: dict[DocumentType, str] = {
    DocumentType.PDF: "pdf",
    DocumentType.DOC: (
        "msg eml doc docx ppt pptx yml xml htm html json jsonl ldjson csv txt ini xls xlsx wps rtf hlp pages numbers "
        "key odt ods odp epub md py js java c cpp h php go ts sh cs kt sql"
    ),
    DocumentType.AURAL: "wav flac ape alac wavpack wv mp3 aac ogg vorbis opus",
    DocumentType.VISUAL: (
        "jpg jpeg png tif gif pcx tga exif fpx svg psd cdr pcd dxf ufo eps ai raw webp avif apng icon ico mpg mpeg avi "
        "rm rmvb mov wmv asf dat asx wvx mpe mpa mp4 mkv"
    ),
}
_TYPE_OF: dict[str, DocumentType] = {
    extension: kind for kind, extensions in _EXTENSIONS.items() for extension in extensions.split()
}
_METHOD_OF = {"ppt": "presentation", "pptx": "presentation", "pages": "presentation", "msg": "email", "eml": "email"}


def suffix(filename: str) -> str:
    """Return what follows the last dot, lower-cased, without the dot; empty if there is none."""
    _, dot, extension = filename.rpartition(".")
    return extension.lower() if dot else ""


def document_type(filename: str) -> DocumentType:
    """Return the type by extension; OTHER is refused at upload."""
    return _TYPE_OF.get(suffix(filename), DocumentType.OTHER)


def chunk_method_for(filename: str, dataset_method: str) -> str:
    """Return the chunk method a new document gets."""
    match document_type(filename):
        case DocumentType.VISUAL:
            return "picture"
        case DocumentType.AURAL:
            return "audio"
        case _:
            return _METHOD_OF.get(suffix(filename), dataset_method)
