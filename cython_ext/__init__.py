"""The core: what the words mean, what is on the wire, and what crossing a threshold is. No I/O, no log.

Other packages write `from cython_ext import …`; this list is the vocabulary (docs/glossary.md).
"""

from .clock import Clock, ClockQuality, ClockSource, SystemClock
from .errors import BuciumError, ConfigError, WireError
from .model import (
    NS_PER_S,
    Cause,
    Dependency,
    Direction,
    Explanation,
    GroupConfig,
    Hazard,
    Level,
    LevelConfig,
    PanelConfig,
    PointConfig,
    QcFlag,
    RateMethod,
    Reason,
    Status,
    Transition,
    Trouble,
    VotePolicy,
)

__all__ = [
    "NS_PER_S",
    "BuciumError",
    "Cause",
    "Clock",
    "ClockQuality",
    "ClockSource",
    "ConfigError",
    "Dependency",
    "Direction",
    "Explanation",
    "GroupConfig",
    "Hazard",
    "Level",
    "LevelConfig",
    "PanelConfig",
    "PointConfig",
    "QcFlag",
    "RateMethod",
    "Reason",
    "Status",
    "SystemClock",
    "Transition",
    "Trouble",
    "VotePolicy",
    "WireError",
]
