"""The checks of `make check` that no linter brings."""
