"""Twelve months of certificate renewal in a minute: real adapters, rules and stand-ins; only time is made up."""
