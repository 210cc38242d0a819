"""Allocators that decide while a trial is trained: which of its parameters a step trains, and what is left of them."""

from autopeft.train.steering.kinds import find_steering
from autopeft.train.steering.steering import Settled, Steered, Steering

__all__ = ["Settled", "Steered", "Steering", "find_steering"]
