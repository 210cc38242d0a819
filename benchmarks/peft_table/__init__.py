"""Tables of real trainings, and reading them."""
