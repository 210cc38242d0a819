"""Tasks: data, split, head and metric.

`load` decides and reads, `task` holds the result, `batches` turns it into tensors, `metrics` scores
predictions. A search calls `load.resolve_task` once; every worker calls `load.load_task` with the settings that
came out of it.
"""
