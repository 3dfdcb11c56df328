"""Plugins that come with accel, one class per file, imported when first asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from accel.schema import plugin_registry

if TYPE_CHECKING:  # for editors, type checkers and readers
    from accel.plugins.accumulate import Accumulate as Accumulate
    from accel.plugins.adamw import AdamW as AdamW
    from accel.plugins.amp import AMP as AMP
    from accel.plugins.augment import Augment as Augment
    from accel.plugins.average import Average as Average
    from accel.plugins.backend import Backend as Backend
    from accel.plugins.batch_lr import BatchLR as BatchLR
    from accel.plugins.cache import Cache as Cache
    from accel.plugins.channels_last import ChannelsLast as ChannelsLast
    from accel.plugins.clip import Clip as Clip
    from accel.plugins.compile import Compile as Compile
    from accel.plugins.constant import Constant as Constant
    from accel.plugins.cosine import Cosine as Cosine
    from accel.plugins.csv import CSV as CSV
    from accel.plugins.cuda_graph import CudaGraph as CudaGraph
    from accel.plugins.cyclic import Cyclic as Cyclic
    from accel.plugins.dali import DALI as DALI
    from accel.plugins.ddp import DDP as DDP
    from accel.plugins.distill import Distill as Distill
    from accel.plugins.early_stop import EarlyStop as EarlyStop
    from accel.plugins.ema import EMA as EMA
    from accel.plugins.extents import Extents as Extents
    from accel.plugins.finite_guard import FiniteGuard as FiniteGuard
    from accel.plugins.fold_bn import FoldBN as FoldBN
    from accel.plugins.fsdp import FSDP as FSDP
    from accel.plugins.lamb import LAMB as LAMB
    from accel.plugins.lars import LARS as LARS
    from accel.plugins.linear import Linear as Linear
    from accel.plugins.lmdb import LMDB as LMDB
    from accel.plugins.lowbit import LowBit as LowBit
    from accel.plugins.lr_range import LRRange as LRRange
    from accel.plugins.master_weights import MasterWeights as MasterWeights
    from accel.plugins.memory import Memory as Memory
    from accel.plugins.metrics import Metrics as Metrics
    from accel.plugins.mlflow import MLflow as MLflow
    from accel.plugins.muon import Muon as Muon
    from accel.plugins.norms import Norms as Norms
    from accel.plugins.onecycle import OneCycle as OneCycle
    from accel.plugins.oom import OOM as OOM
    from accel.plugins.optimizer import Optimizer as Optimizer
    from accel.plugins.parity import Parity as Parity
    from accel.plugins.pinned import Pinned as Pinned
    from accel.plugins.plateau import Plateau as Plateau
    from accel.plugins.polynomial import Polynomial as Polynomial
    from accel.plugins.prefetch import Prefetch as Prefetch
    from accel.plugins.profiler import Profiler as Profiler
    from accel.plugins.progress import Progress as Progress
    from accel.plugins.prune import Prune as Prune
    from accel.plugins.qat import QAT as QAT
    from accel.plugins.raw import Raw as Raw
    from accel.plugins.recompute import Recompute as Recompute
    from accel.plugins.remote import Remote as Remote
    from accel.plugins.reparam import Reparam as Reparam
    from accel.plugins.resident import Resident as Resident
    from accel.plugins.schedule_free import ScheduleFree as ScheduleFree
    from accel.plugins.scheduler import Scheduler as Scheduler
    from accel.plugins.sgd import SGD as SGD
    from accel.plugins.step import Step as Step
    from accel.plugins.step_in_backward import StepInBackward as StepInBackward
    from accel.plugins.stream import Stream as Stream
    from accel.plugins.sync_guard import SyncGuard as SyncGuard
    from accel.plugins.tensorboard import TensorBoard as TensorBoard
    from accel.plugins.tfrecord import TFRecord as TFRecord
    from accel.plugins.threads import Threads as Threads
    from accel.plugins.wandb import WandB as WandB
    from accel.plugins.webdataset import WebDataset as WebDataset
    from accel.plugins.workers import Workers as Workers
    from accel.plugins.wsd import WSD as WSD


def __getattr__(name: str) -> Any:
    files = {plugin_registry.class_name(path.stem): path.stem for path in plugin_registry.FOLDER.glob("[!_]*.py")}
    if name == "__all__":
        return sorted(files)
    if name in files:
        return getattr(import_module(f"accel.plugins.{files[name]}"), name)
    raise AttributeError(f"module 'accel.plugins' has no plugin {name!r}")


def __dir__() -> list[str]:
    return list(__getattr__("__all__"))
