"""The cloud on a laptop: the Functions host, the table service and the stand-ins. Never deployed."""
