"""Pictures of a study as Plotly figures: pure functions of what `autopeft.report` reads, for dashboard and report alike."""
