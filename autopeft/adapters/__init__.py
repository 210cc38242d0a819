"""Configuration to model and back: modules put on a backbone, taken off, saved and loaded."""

from autopeft.adapters.attach import Attached, attach
from autopeft.adapters.bottleneck import Bottleneck
from autopeft.adapters.folder import load_adapter, save_adapter
from autopeft.adapters.prefix import Prefix

__all__ = ["Attached", "Bottleneck", "Prefix", "attach", "load_adapter", "save_adapter"]
