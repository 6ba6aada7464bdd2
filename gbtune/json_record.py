"""Frozen records as JSON: the one way in which they are stored."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Self

import numpy as np


class JsonRecord:
    """JSON round trip of a flat frozen dataclass (lists come back as tuples)."""

    SCHEMA = 1

    def to_json(self) -> str:
        """Return the record as one line of JSON, with its schema version."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}  # type: ignore[arg-type]
        return json.dumps({"schema": self.SCHEMA, **fields}, default=_plain, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote; fields of a newer schema that this version lacks are ignored."""
        raw = json.loads(text)
        known = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
        return cls(**{key: _tupled(value) for key, value in raw.items() if key in known})


def _plain(value: object) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"A record holds plain JSON values only, got {type(value).__name__}: {value!r}")


def _tupled(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    return tuple([_tupled(item) if isinstance(item, list) else item for item in value])  # curves: no call per number
