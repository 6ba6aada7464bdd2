"""Frozen records as JSON: the one way in which they are stored."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np


class JsonRecord:
    """JSON round trip of a flat frozen dataclass (lists come back as tuples)."""

    SCHEMA = 1

    def to_json(self) -> str:
        """Return the record as one line of JSON, with its schema version."""
        names = _names(type(self))  # type: ignore[arg-type]  # mypy doubts that classes can be hashed
        return _ENCODER.encode({"schema": self.SCHEMA, **{name: getattr(self, name) for name in names}})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote; fields of a newer schema that this version lacks are ignored."""
        raw = json.loads(text)
        known = _names(cls)  # type: ignore[arg-type]  # likewise
        return cls(**{key: _tupled(value) for key, value in raw.items() if key in known})


def filled(text: str, name: str, values: Sequence[Any]) -> str:
    """Return a record's JSON with values in a field that was empty, without writing the rest anew.

    Examples
    --------
    >>> from gbtune.json_record import filled
    >>> from gbtune.records import TrialRecord
    >>> text = filled(TrialRecord(7, "running", {}).to_json(), "fold_scores", [0.25, 0.5])
    >>> TrialRecord.from_json(text).fold_scores
    (0.25, 0.5)
    """
    # Within texts a quotation mark is escaped: only the field itself looks like this.
    before, _, after = text.partition(f'"{name}":[]')
    return f'{before}"{name}":{_ENCODER.encode(values)}{after}'


def field(text: str, name: str) -> Any:
    """Return one field of a record's JSON, as JSON has it, without reading the rest.

    Examples
    --------
    >>> from gbtune.json_record import field
    >>> from gbtune.records import TrialRecord
    >>> field(TrialRecord(7, "running", {}, n_folds=5).to_json(), "n_folds")
    5
    """
    head = f'"{name}":'
    return _DECODER.raw_decode(text, text.index(head) + len(head))[0]


@functools.cache
def _names(kind: type) -> dict[str, None]:
    """Return the fields' names, in order: asked for after every fold of every trial."""
    return dict.fromkeys(field.name for field in dataclasses.fields(kind))


def _plain(value: object) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"A record holds plain JSON values only, got {type(value).__name__}: {value!r}")


_ENCODER = json.JSONEncoder(default=_plain, separators=(",", ":"))
_DECODER = json.JSONDecoder()


def _tupled(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    return tuple(map(_tupled, value) if list in map(type, value) else value)  # curves: no call per number
