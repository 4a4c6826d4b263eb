"""Commands for the engineer: what has no page. Run `python -m ops --help`."""
