"""The timer that renews the certificate, and looks after the key ring of sessions and expired rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import azure.functions as func

if TYPE_CHECKING:
    from shared.services import Services

_EVERY_HOUR = "0 7 * * * *"


def doors(services: Services) -> func.Blueprint:
    """One timer. It is safe to run twice, and on two instances at once: the row has a lease."""
    blueprint = func.Blueprint()

    @blueprint.function_name("renewal")
    @blueprint.timer_trigger(schedule=_EVERY_HOUR, arg_name="timer", run_on_startup=False, use_monitor=True)
    def renewal(timer: func.TimerRequest) -> None:
        del timer
        _tick(services)

    return blueprint


def _tick(services: Services) -> None:
    from shared.errors import SignInError
    from shared.renewal_tick import tick

    try:
        tick(services)
    except SignInError as error:
        services.audit.say_later("renewal.tick_failed", f"{error.code}: {error}")
    finally:
        services.audit.flush()
