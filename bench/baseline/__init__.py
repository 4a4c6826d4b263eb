"""A function app with nothing in it, and the floors under a first `/login`."""
