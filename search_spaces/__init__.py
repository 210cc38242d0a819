"""Search spaces, as YAML: data only."""

if __name__ == "search_spaces":
    raise ImportError("import autopeft.search_spaces")
