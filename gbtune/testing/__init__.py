"""The test kit: contracts that plug-ins must pass, ours and strangers', and a fake beside each real thing.

=========  =================  ===================  ==========================================
plug-in    pytest class       plain function       its fixture returns
=========  =================  ===================  ==========================================
family     `FamilyContract`   `check_family`       a ModelFamily, or a registered name
space      `SpaceContract`    `check_space`        a SearchSpace, or what it is loaded from
sampler    `SamplerContract`  `check_sampler`      a name, or a callable of the seed
pruner     `PrunerContract`   `check_pruner`       a name, or a callable
tracker    `TrackerContract`  `check_tracker`      a new Tracker with an empty store
=========  =================  ===================  ==========================================

A class has one fixture, named like the plug-in. A function raises `AssertionError` with a sentence, or returns a
`Report` of what it ran; it needs no pytest. Both count: a plug-in whose claims imply more checks than were run has
failed, and so has a gap (`notimpl`, `notyet`, `never`) that has closed. Nothing in gbtune imports this package.

Examples
--------
>>> from gbtune.testing import check_tracker
>>> from gbtune.testing.trackers import RecordingTracker
>>> print(check_tracker(RecordingTracker))
tracker RecordingTracker: 7 cases in 7 checks passed
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gbtune.testing.contract import Gap, Report, never, notimpl, notyet
    from gbtune.testing.families import FamilyContract, check_family
    from gbtune.testing.pruners import PrunerContract, check_pruner
    from gbtune.testing.samplers import SamplerContract, check_sampler
    from gbtune.testing.spaces import SpaceContract, check_space
    from gbtune.testing.stub import StubFamily
    from gbtune.testing.trackers import RecordingTracker, TrackerContract, check_tracker

_HOME = {
    "FamilyContract": "families",
    "Gap": "contract",
    "PrunerContract": "pruners",
    "RecordingTracker": "trackers",
    "Report": "contract",
    "SamplerContract": "samplers",
    "SpaceContract": "spaces",
    "StubFamily": "stub",
    "TrackerContract": "trackers",
    "check_family": "families",
    "check_pruner": "pruners",
    "check_sampler": "samplers",
    "check_space": "spaces",
    "check_tracker": "trackers",
    "never": "contract",
    "notimpl": "contract",
    "notyet": "contract",
}

__all__ = [
    "FamilyContract",
    "Gap",
    "PrunerContract",
    "RecordingTracker",
    "Report",
    "SamplerContract",
    "SpaceContract",
    "StubFamily",
    "TrackerContract",
    "check_family",
    "check_pruner",
    "check_sampler",
    "check_space",
    "check_tracker",
    "never",
    "notimpl",
    "notyet",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"gbtune.testing.{_HOME[name]}"), name)
    raise AttributeError(f"module 'gbtune.testing' has no attribute {name!r}")
