import pytest

from app.ingest.file_types import DocumentType, chunk_method_for, document_type


@pytest.mark.parametrize(
    ("filename", "kind", "method"),
    [
        ("a.PDF", DocumentType.PDF, "qa"),
        ("a.tar.md", DocumentType.DOC, "qa"),
        ("a.markdown", DocumentType.OTHER, "qa"),
        ("noextension", DocumentType.OTHER, "qa"),
        ("slides.pptx", DocumentType.DOC, "presentation"),
        ("mail.eml", DocumentType.DOC, "email"),
        ("cat.JPG", DocumentType.VISUAL, "picture"),
        ("song.mp3", DocumentType.AURAL, "audio"),
        (".txt", DocumentType.DOC, "qa"),
    ],
)
def test_the_extension_tells_type_and_method(filename: str, kind: DocumentType, method: str) -> None:
    assert (document_type(filename), chunk_method_for(filename, "qa")) == (kind, method)
