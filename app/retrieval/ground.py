"""Where a search may look: whose datasets these are, and which of their documents are left (knowledge.md 4.1, 4.6)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anyio import to_thread

from app.domain.datasets import Dataset, DatasetMissing, DocumentMissing
from app.domain.errors import Invalid
from app.domain.ids import DatasetId, DocumentId
from app.retrieval.metadata import MetadataFilter
from repositories.unit_of_work import UnitOfWork

_FEW = 500  # documents whose metadata is looked through at once on the event loop


class MixedEmbeddings(Invalid):
    """The datasets cannot be searched together: their vectors come from different models."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """Datasets to search, each once in the order asked for, and their documents' metadata where it matters."""

    datasets: list[Dataset]
    metadata: Mapping[DocumentId, Mapping[str, Any]] | None = None

    @property
    def dataset_ids(self) -> list[DatasetId]:
        """The datasets' ids."""
        return [dataset.id for dataset in self.datasets]

    @property
    def chunk_count(self) -> int:
        """How many chunks all of it has."""
        return sum(dataset.chunk_count for dataset in self.datasets)


async def survey(
    unit: UnitOfWork, dataset_ids: Sequence[DatasetId], document_ids: Sequence[DocumentId], *, has_condition: bool
) -> Ground:
    """Read where to search; metadata only where there is a condition on it.

    Raises:
        DatasetMissing: one of the datasets is not there; the first one is named.
        MixedEmbeddings: their vectors come from models of different names.
        DocumentMissing: one of the documents is in none of them.
    """
    wanted = list(dict.fromkeys(dataset_ids))
    known = await unit.datasets.many(wanted)
    for dataset_id in wanted:
        if dataset_id not in known:
            raise DatasetMissing(f"You don't own the dataset {dataset_id}.", param="dataset_ids")
    datasets = [known[dataset_id] for dataset_id in wanted]
    if len({dataset.embedding_model.rpartition("@")[0] for dataset in datasets}) > 1:
        raise MixedEmbeddings('Datasets use different embedding models."', param="dataset_ids")
    if document_ids:
        owned = await unit.chunk_search.owned(wanted, document_ids)
        for document_id in document_ids:
            if document_id not in owned:
                raise DocumentMissing(f"The datasets don't own the document {document_id}", param="document_ids")
    return Ground(datasets=datasets, metadata=await unit.chunk_search.metadata(wanted) if has_condition else None)


async def allowed_documents(
    ground: Ground, document_ids: Sequence[DocumentId], condition: MetadataFilter | None
) -> list[DocumentId] | None:
    """Return the only documents to search: those asked for that meet the condition. None is no restriction."""
    asked = list(dict.fromkeys(document_ids)) or None
    if condition is None or ground.metadata is None:
        return asked
    held = ground.metadata

    def met() -> list[DocumentId]:
        return [document_id for document_id, fields in held.items() if condition.allows(fields)]

    allowed = met() if len(held) <= _FEW else await to_thread.run_sync(met)
    if asked is None:
        return allowed
    among = set(allowed)
    return [document_id for document_id in asked if document_id in among]
