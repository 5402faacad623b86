"""Datasets and documents as JSON values (knowledge.md 1.8, 2.8)."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from app.domain.datasets import Dataset, Document
from app.domain.ids import DatasetId, JobId
from app.domain.index_jobs import IndexJob, IndexType
from app.wire.envelope import http_date, times
from app.wire.index_jobs import dataset_tasks


def dataset(stored: Dataset, jobs: Mapping[IndexType, IndexJob] = MappingProxyType({})) -> dict[str, Any]:
    """Return the dataset object; `jobs` are the latest that indexed all of it."""
    return {
        "id": stored.id,
        "tenant_id": stored.tenant_id,
        "created_by": stored.tenant_id,
        "name": stored.name,
        "avatar": stored.avatar,
        "description": stored.description,
        "language": stored.language,
        "permission": stored.permission,
        "status": "1",
        "embedding_model": stored.embedding_model,
        "chunk_method": stored.chunk_method,
        "pipeline_id": None,
        "parser_config": stored.parser_config,
        "pagerank": stored.pagerank,
        "document_count": stored.document_count,
        "chunk_count": stored.chunk_count,
        "token_num": stored.token_count,
        "similarity_threshold": 0.2,
        "vector_similarity_weight": 0.3,
        **dataset_tasks(jobs),
        **times(stored.created_at, stored.updated_at),
    }


def one_dataset(
    stored: Dataset, size_bytes: int, jobs: Mapping[IndexType, IndexJob] = MappingProxyType({})
) -> dict[str, Any]:
    """Return the dataset object as the route of one dataset shows it; `size` is that of its files together."""
    return {**dataset(stored, jobs), "size": size_bytes, "connectors": []}


def deleted_datasets(count: int, jobs: Iterable[tuple[DatasetId, JobId]]) -> dict[str, Any]:
    """Return what a deletion did, and which jobs go on with it."""
    still = [{"id": job_id, "dataset_id": dataset_id} for dataset_id, job_id in jobs]
    return {"success_count": count, **({"jobs": still} if still else {})}


def document(stored: Document) -> dict[str, Any]:
    """Return the document object."""
    began = stored.process_begin_at
    return {
        "id": stored.id,
        "dataset_id": stored.dataset_id,
        "name": stored.name,
        "location": stored.location,
        "type": stored.type,
        "suffix": stored.suffix,
        "size": stored.size_bytes,
        "source_type": stored.source_type,
        "thumbnail": stored.thumbnail,
        "chunk_method": stored.chunk_method,
        "pipeline_id": None,
        "parser_config": stored.parser_config,
        "created_by": stored.tenant_id,
        "meta_fields": stored.meta_fields,
        "status": "1" if stored.is_enabled else "0",
        "chunk_count": stored.chunk_count,
        "token_count": stored.token_count,
        "run": stored.run.value,
        "progress": stored.progress,
        "progress_msg": stored.progress_msg,
        "process_begin_at": http_date(began) if began is not None else None,
        "process_duration": stored.process_duration_s,
        **times(stored.created_at, stored.updated_at),
    }


def listed_document(stored: Document) -> dict[str, Any]:
    """Return the document object as lists show it."""
    return {**document(stored), "title": None}
