"""`python -m ops`: the settings, the certificate, the set-up link, the Owner's Microsoft account. See docs/operate.md."""

import argparse
import json
import os
import sys
from dataclasses import asdict, replace

from ops import certificate
from shared import accounts, limits, settings, setup, throttle
from shared.audit import Event
from shared.azure.connect import connect
from shared.config import Config
from shared.errors import ConfigurationError, SignInError
from shared.principal import Principal
from shared.renewal_requests import look_now
from shared.services import Services
from shared.user_name import normalise_user_name

_REFERENCE = "ops"


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Returns the exit status: 0 done, 1 refused or failed, 2 not understood."""
    options = _parser().parse_args(arguments)
    try:
        services = connect(Config.from_environ(os.environ), as_person=True)
        outcome = options.run(services, options)
        services.audit.flush()
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 1
    except SignInError as error:
        print(f"{error.code}: {error}", file=sys.stderr)
        return 1
    except ValueError as error:
        for problem in error.args[0] if isinstance(error.args[0], tuple) else error.args:
            print(problem, file=sys.stderr)
        return 1
    print(outcome)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ops",
        description="Looks after a deployment. Reads the same environment variables as the functions, and signs in to "
        "Azure as you.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    show = commands.add_parser("settings", help="show the sign-in settings, or change those that are named")
    show.add_argument("--tenant-id", help="Directory (tenant) ID")
    show.add_argument("--client-id", help="Application (client) ID")
    show.add_argument("--object-id", help="Object ID of the application, for renewing its certificate")
    show.add_argument("--admin-role", help="the app role whose holders are Admins; '' for none")
    show.add_argument("--sso", choices=["on", "off"], help="whether everyone must sign in with Microsoft")
    show.set_defaults(run=_settings)

    link = commands.add_parser("setup-link", help="make a link by which the Owner sets a password, once")
    link.set_defaults(run=_setup_link)

    certificate.add_parser(commands)

    unlock = commands.add_parser("unlock", help="forget the wrong passwords that were tried for a user name")
    unlock.add_argument("user_name")
    unlock.set_defaults(run=_unlock)

    tie = commands.add_parser("tie-owner", help="tie the Owner's account to the Owner's Microsoft account")
    tie.add_argument("--tenant-id", required=True, help="Directory (tenant) ID of the person")
    tie.add_argument(
        "--object-id", required=True, help="Object ID of the person (Entra admin center › Users)"
    )
    tie.set_defaults(run=_tie_owner)

    untie = commands.add_parser("untie-owner", help="undo tie-owner")
    untie.set_defaults(run=_untie_owner)
    return parser


def _settings(services: Services, options: argparse.Namespace) -> str:
    before = settings.read_settings(services.store)
    named = {
        "tenant_id": options.tenant_id,
        "client_id": options.client_id,
        "object_id": options.object_id,
        "admin_role": options.admin_role,
        "sso_active": {"on": True, "off": False, None: None}[options.sso],
    }
    changes = {name: value for name, value in named.items() if value is not None}
    after = replace(before, **changes)
    if changes:
        after = settings.save_settings(services.store, after)
        _record(services, "settings.changed", ",".join(sorted(changes)))
        look_now(
            services.store, services.clock()
        )  # another application, or its object id, is news for the renewal
    shown = {name: value for name, value in asdict(after).items() if name != "etag"}
    return json.dumps(shown, indent=2)


def _setup_link(services: Services, options: argparse.Namespace) -> str:
    del options
    link = setup.new_link(services.vault, services.clock, services.config.address)
    _record(services, "owner.setup_link_made")
    return link


def _unlock(services: Services, options: argparse.Namespace) -> str:
    name = normalise_user_name(options.user_name)
    throttle.reset(services.store, limits.account_limit(name, services.pepper.get().throttle_key))
    _record(services, "throttle.reset")
    return "The next attempt for this user name is free."


def _tie_owner(services: Services, options: argparse.Namespace) -> str:
    principal = Principal(options.tenant_id.lower(), options.object_id.lower())
    accounts.tie(services.store, _owner(services), principal)
    _record(services, "owner.tied")
    return "The Owner can now sign in with this Microsoft account."


def _untie_owner(services: Services, options: argparse.Namespace) -> str:
    del options
    accounts.tie(services.store, _owner(services), None)
    _record(services, "owner.untied")
    return "The Owner signs in by password only."


def _owner(services: Services) -> accounts.Account:
    owner = accounts.account_by_id(services.store, accounts.OWNER_ID)
    if owner is None:
        raise ValueError("There is no Owner yet: make a set-up link first (python -m ops setup-link).")
    return owner


def _record(services: Services, name: str, reason: str = "") -> None:
    event = Event(name, services.clock(), _REFERENCE, accounts.OWNER_ID, reason=reason, warning=True)
    services.audit.record(event)


if __name__ == "__main__":
    sys.exit(main())
