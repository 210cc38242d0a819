"""Ray Tune, as an executor only: the database is the truth, Ray's own state is a cache that may be lost."""

from autopeft.run.driver import Driver
from autopeft.run.tuner import Cluster, run_trials, start_ray

__all__ = ["Cluster", "Driver", "run_trials", "start_ray"]
