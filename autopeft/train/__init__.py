"""One trial: modules on, steps, a report after every epoch, modules off."""

from autopeft.train.elastic import probe
from autopeft.train.loop import Training
from autopeft.train.running import Report
from autopeft.train.workbench import Workbench

__all__ = ["Report", "Training", "Workbench", "probe"]
