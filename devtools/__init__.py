"""What developers need beside the platform: real servers for tests, benchmarks and demonstrations."""

from __future__ import annotations

from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[1]
"""The checkout."""
