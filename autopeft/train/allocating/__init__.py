"""Allocators at work: they look at the backbone and the data of a worker before a trial is trained."""
