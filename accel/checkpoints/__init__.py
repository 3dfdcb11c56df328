"""Checkpoints: whole or not at all, written beside the training, verified before anything of them is used."""

from accel.checkpoints.discovery import FoundCheckpoint, damage, find, load
from accel.checkpoints.no_saver import NoSaver
from accel.checkpoints.retention import FOLDER
from accel.checkpoints.saver import Saver
from accel.checkpoints.state import capture, restore

__all__ = ["FOLDER", "FoundCheckpoint", "NoSaver", "Saver", "capture", "damage", "find", "load", "restore"]
