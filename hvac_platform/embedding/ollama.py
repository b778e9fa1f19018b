"""The text encoder: the sentence of a state, embedded by a model on an Ollama server."""

from __future__ import annotations

import time
from collections.abc import Sequence
from urllib.parse import urlsplit

import httpx
import numpy as np
import ollama
from numpy.typing import NDArray

from hvac_platform.embedding.base import EncoderUnavailableError
from hvac_platform.embedding.text import state_sentences
from hvac_platform.snapshots import EMBEDDING_DIMENSION, SnapshotSeries

BATCH_TEXTS = 16  # larger ones are not faster, and take longer to fail
REQUEST_SECONDS = 60.0
CONNECT_SECONDS = 5.0
ATTEMPTS = 3
FIRST_PAUSE_SECONDS = 0.5
KEEP_ALIVE = "30m"  # a model that is unloaded between windows has to be loaded again for each
BAD_REQUEST, NOT_FOUND = 400, 404


class RefusedTextError(ValueError):
    """A text that the model can't stand for: empty, or longer than it reads."""


class OllamaEncoder:
    """Encoder whose vector is the text embedding of :func:`~hvac_platform.embedding.text.state_sentences`.

    The model reads 256 tokens; a sentence of the five device types has 114 to 146. Ollama cuts longer texts off and
    embeds an empty one as if it said something, so both are refused here.

    Args:
        base_url: of the server, e.g. ``http://localhost:11434``.
        model: name and tag.
        request_seconds: longest wait for one batch.
        attempts: tries of one batch before the server counts as unavailable.
    """

    context_windows = 0

    def __init__(
        self, base_url: str, model: str, *, request_seconds: float = REQUEST_SECONDS, attempts: int = ATTEMPTS
    ) -> None:
        self._model = model
        self._attempts = attempts
        self._shown_url = _without_credentials(base_url)
        timeout = httpx.Timeout(request_seconds, connect=min(CONNECT_SECONDS, request_seconds))
        self._client = ollama.Client(host=base_url, timeout=timeout)

    @property
    def method(self) -> str:
        """Name, version and model."""
        return f"text-1/{self._model}"

    def encode(self, series: SnapshotSeries) -> NDArray[np.float32]:
        """Unit vectors float32 [n, 384] of n snapshots; all NaN where one has no metric or its sentence is too long.

        Raises:
            EncoderUnavailableError: the server can't be reached, doesn't answer in time, or lacks the model.
        """
        vectors = np.full((len(series), EMBEDDING_DIMENSION), np.nan, dtype=np.float32)
        known = np.flatnonzero(np.isfinite(series.mean).any(axis=1)).tolist()
        sentences = state_sentences(series)
        rows_of: dict[str, list[int]] = {}
        for row in known:  # an idle device says the same for hours
            rows_of.setdefault(sentences[row], []).append(row)
        texts = list(rows_of)
        for start in range(0, len(texts), BATCH_TEXTS):
            batch = texts[start : start + BATCH_TEXTS]
            for text, vector in zip(batch, self._tolerantly(batch), strict=True):
                vectors[rows_of[text]] = vector
        return vectors

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors float32 [n, 384] of n texts, in one request.

        Raises:
            RefusedTextError: a text is empty, or longer than the model reads.
            EncoderUnavailableError: the server can't be reached, doesn't answer in time, or lacks the model.
        """
        for i, text in enumerate(texts):
            if not text.strip():
                raise RefusedTextError(f"text {i} is empty: there is nothing to embed")
        if not texts:
            return np.zeros((0, EMBEDDING_DIMENSION), dtype=np.float32)
        pause = FIRST_PAUSE_SECONDS
        for attempt in range(1, self._attempts + 1):
            try:
                answer = self._client.embed(self._model, list(texts), truncate=False, keep_alive=KEEP_ALIVE)
                return self._checked(answer.embeddings, len(texts))
            except ollama.ResponseError as error:
                if error.status_code == NOT_FOUND:
                    raise EncoderUnavailableError(
                        f"the Ollama server at {self._shown_url} has no model {self._model}: "
                        f"run `ollama pull {self._model}` there"
                    ) from None
                if error.status_code == BAD_REQUEST:
                    raise RefusedTextError(f"the model {self._model} refuses a text: {error.error}") from None
                reason = str(error.error) or f"status {error.status_code}"
            except (ConnectionError, httpx.TransportError) as error:
                reason = _first_line(error) or type(error).__name__
            if attempt < self._attempts:
                time.sleep(pause)
                pause *= 2
        raise EncoderUnavailableError(
            f"the Ollama server at {self._shown_url} did not embed after {self._attempts} attempts: {reason}. "
            "Check OLLAMA_BASE_URL and that `ollama serve` runs"
        )

    def _tolerantly(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        """Vectors of some texts, NaN for those that are refused: the others are not made to suffer for them."""
        try:
            return list(self.embed(texts))
        except RefusedTextError:
            if len(texts) == 1:
                return [np.full(EMBEDDING_DIMENSION, np.nan, dtype=np.float32)]
            middle = len(texts) // 2
            return self._tolerantly(texts[:middle]) + self._tolerantly(texts[middle:])

    def _checked(self, embeddings: Sequence[Sequence[float]], expected: int) -> NDArray[np.float32]:
        """The answer as unit vectors.

        Raises:
            EncoderUnavailableError: it isn't that; the model is another kind of model.
        """
        lengths = {len(row) for row in embeddings}
        if len(embeddings) != expected or lengths != {EMBEDDING_DIMENSION}:
            raise EncoderUnavailableError(
                f"the model {self._model} gave {len(embeddings)} vectors of {sorted(lengths)} numbers for {expected} texts, "
                f"and the tables hold {EMBEDDING_DIMENSION}: set OLLAMA_MODEL to a model such as all-minilm:l6-v2"
            )
        vectors = np.asarray(embeddings, dtype=np.float32)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not (np.isfinite(norms).all() and (norms > 0).all()):
            raise EncoderUnavailableError(f"the model {self._model} gave a vector that is zero or not finite")
        unit: NDArray[np.float32] = vectors / norms
        return unit


def _without_credentials(url: str) -> str:
    parts = urlsplit(url if "://" in url else f"http://{url}")
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "")
