"""Work done here, in a process for each device, or on a cluster: one interface of what is done, and a runner for each place."""

from .attempts import Attempts, TookItsProcess
from .here import Here
from .local import Local
from .ray_runner import OnRay
from .stage import EndsTheProcess, EndsTheRun, Progress, Report, Runner, Stage, Worker, on_device

__all__ = [
    "Attempts", "EndsTheProcess", "EndsTheRun", "Here", "Local", "OnRay", "Progress", "Report", "Runner", "Stage", "TookItsProcess", "Worker",
    "on_device",
]  # fmt: skip
