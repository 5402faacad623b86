"""Pictures of chunks and thumbnails of documents, found by their ids (knowledge.md 3.2, 8)."""

from app.domain.errors import Missing
from app.domain.ids import DatasetId
from app.ingest.blobs import UnsafeKey
from app.ingest.images import image_key
from repositories.unit_of_work import UnitOfWork


def image_missing() -> Missing:
    """Return the refusal for a picture that is not there, or is another tenant's."""
    return Missing("Image not found.")


async def find_image(unit: UnitOfWork, image_id: str) -> str:
    """Return the key of a picture's bytes; `image_id` is `<dataset>-<name>`.

    Raises:
        Missing: it names no dataset of the tenant, or nothing that could be a picture.
    """
    dataset_id, _, name = image_id.partition("-")
    if await unit.datasets.get(DatasetId(dataset_id)) is None:
        raise image_missing()
    try:
        return image_key(unit.tenant_id, DatasetId(dataset_id), name)
    except UnsafeKey as error:
        raise image_missing() from error
