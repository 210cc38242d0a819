"""What trains the trials of `throughput.py`: what a person writes today, and ours; and the matrix products alone."""
