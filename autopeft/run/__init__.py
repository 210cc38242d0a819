"""Ray Tune, as an executor only: the database is the truth, Ray's own state is a cache that may be lost.

Nothing is imported here: a worker does without what only the driver's side needs.
"""
