"""Where Azure Functions begins. See ARCHITECTURE.md."""

import os

from functions.app import build_app
from shared.azure.connect import connect
from shared.config import Config

app = build_app(connect(Config.from_environ(os.environ)))
