"""Fault points in saving and resuming, where a drill may strike (`accel.system.faults`), in the order of passing."""

__all__ = ["BEST_WEIGHTS", "FINISHING", "PLACES", "RESUMING", "SAVING", "SHAPING", "SHARING", "SHIPPING"]

_FILE = ("begun", "written", "synced", "moved", "settled")

SAVING = (
    "saving.begun",  # the loop: nothing is copied yet
    "saving.copied",  # the loop: the copies are queued
    *(f"saving.state.{step}" for step in _FILE),  # the thread: the .pt
    *(f"saving.record.{step}" for step in _FILE),  # the .json, which makes it a checkpoint
    "saving.remove.begun",  # one that need not stay
    "saving.remove.unlisted",  # its .json is gone, its .pt is still there
    "saving.done",
)
"""Points of each checkpoint; the two of removing only if one is removed."""

SHARING = ("saving.shards.written", "saving.shards.moved")
"""Points of each checkpoint of a run with sharded weights, before its .pt."""

BEST_WEIGHTS = tuple(f"saving.best.{step}" for step in _FILE)
"""Points of a checkpoint that is the best by `checkpoint.best`, after its .json."""

FINISHING = (*(f"saving.weights.{step}" for step in _FILE), *(f"saving.summary.{step}" for step in _FILE))
"""Points at the end of a run: model.safetensors and summary.json."""

SHIPPING = tuple(f"saving.shipped.{step}" for step in _FILE)
"""Points between the two, of a model that is shipped in another shape."""

SHAPING = ("shaping.changed", "shaping.followed")
"""Points of each change of the model's shape between two updates: no part follows it yet, and all parts do."""

RESUMING = ("resuming.listed", "resuming.read", "resuming.verified", "resuming.compared", "resuming.loaded", "resuming.restored")
"""Points of a run that is resumed."""

PLACES = (*SAVING, *FINISHING, *RESUMING)
