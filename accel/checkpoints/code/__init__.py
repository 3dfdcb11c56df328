"""Digests of the code that a run was given: what a resumed run, or another rank, can be compared by."""

from accel.checkpoints.code.code_digest import code_digests
from accel.checkpoints.code.code_record import changed_code, code_record
from accel.checkpoints.code.git_revision import code_folder
from accel.checkpoints.code.given_code import model_code, task_code

__all__ = ["changed_code", "code_digests", "code_folder", "code_record", "model_code", "task_code"]
