"""Configuration to model and back: modules put on a backbone, taken off, saved and loaded."""

from autopeft.adapters.attach import Attached, attach
from autopeft.adapters.folder import load_adapter, save_adapter

__all__ = ["Attached", "attach", "load_adapter", "save_adapter"]
