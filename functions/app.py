"""The list of doors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import azure.functions as func

from functions import callback, elsewhere, health, login, renewal, session, setup, signin

if TYPE_CHECKING:
    from shared.services import Services


def build_app(services: Services) -> func.FunctionApp:
    """Join the doors to one function app. They are open to anybody: who may pass is decided behind them."""
    app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
    for door in (login, callback, signin, session, setup, health, renewal, elsewhere):
        app.register_functions(door.doors(services))
    return app
