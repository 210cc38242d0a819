"""What a backbone offers: loading it, its layers and sites, its task head."""

from autopeft.backbones.layout import LayerLayout, Layout
from autopeft.backbones.load import (
    STARTER,
    Backbone,
    load_backbone,
    model_path,
    read_backbone,
    read_config,
    reset_head,
)

__all__ = [
    "STARTER",
    "Backbone",
    "LayerLayout",
    "Layout",
    "load_backbone",
    "model_path",
    "read_backbone",
    "read_config",
    "reset_head",
]
