import pytest

from app.ingest.file_types import DocumentType, chunk_method_for, document_type

_TABLE = {
    DocumentType.PDF: "pdf",
    DocumentType.DOC: "msg eml doc docx ppt pptx yml xml htm html json jsonl ldjson csv txt ini xls xlsx wps rtf hlp "
    "pages numbers key md py js java c cpp h php go ts sh cs kt sql odt ods odp epub",
    DocumentType.AURAL: "wav flac ape alac wavpack wv mp3 aac ogg vorbis opus",
    DocumentType.VISUAL: "jpg jpeg png tif gif pcx tga exif fpx svg psd cdr pcd dxf ufo eps ai raw webp avif apng icon "
    "ico mpg mpeg avi rm rmvb mov wmv asf dat asx wvx mpe mpa mp4 mkv",
    DocumentType.OTHER: "markdown exe zip tiff bmp heic yaml toml",
}


@pytest.mark.promise("2.1-types-table")
@pytest.mark.parametrize("kind", _TABLE)
def test_the_table_of_extensions(kind: DocumentType) -> None:
    assert {document_type(f"a.{extension}") for extension in _TABLE[kind].split()} == {kind}
    assert {document_type(f"A.{extension.upper()}") for extension in _TABLE[kind].split()} == {kind}


@pytest.mark.promise("2.1-method-by-type")
@pytest.mark.parametrize(
    ("filename", "kind", "method"),
    [
        ("a.PDF", DocumentType.PDF, "qa"),
        ("a.tar.md", DocumentType.DOC, "qa"),
        ("a.markdown", DocumentType.OTHER, "qa"),
        ("noextension", DocumentType.OTHER, "qa"),
        ("slides.pptx", DocumentType.DOC, "presentation"),
        ("mail.eml", DocumentType.DOC, "email"),
        ("slides.ppt", DocumentType.DOC, "presentation"),
        ("slides.pages", DocumentType.DOC, "presentation"),
        ("mail.MSG", DocumentType.DOC, "email"),
        ("clip.mp4", DocumentType.VISUAL, "picture"),
        ("cat.JPG", DocumentType.VISUAL, "picture"),
        ("song.mp3", DocumentType.AURAL, "audio"),
        (".txt", DocumentType.DOC, "qa"),
    ],
)
def test_the_extension_tells_type_and_method(filename: str, kind: DocumentType, method: str) -> None:
    assert (document_type(filename), chunk_method_for(filename, "qa")) == (kind, method)
