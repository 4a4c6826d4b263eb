"""The doors: parse the request, call one use case, render the answer. No rules here."""
