"""The pages a person meets at Entra. Plain HTML with labels; nothing needs a script."""

from collections.abc import Mapping, Sequence

from jinja2 import DictLoader, Environment

from local.cloud.entra.state import Person
from local.cloud.web import Json

_LAYOUT = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{% block title %}Sign in{% endblock %} - Entra stand-in</title>
<style>
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 26rem; margin: 3rem auto; padding: 0 1rem; }
button, input { font: inherit; padding: .5rem .75rem; margin: .25rem 0; width: 100%; box-sizing: border-box; }
small { opacity: .8; }
</style>
</head>
<body>
<main>
{% block main %}{% endblock %}
</main>
<footer><small>This stands in for Microsoft Entra ID on this computer.</small></footer>
</body>
</html>
"""

_PICK = """{% extends "layout" %}
{% block main %}
<h1>Pick an account</h1>
<p>to continue to {{ application }}</p>
<form method="post" action="{{ action }}">
{% for person in people %}
<button name="account" value="{{ person.username }}">{{ person.name }} ({{ person.username }})</button>
{% endfor %}
</form>
<form method="post" action="{{ action }}">
<label for="account">Another account</label>
<input id="account" name="account" type="email" autocomplete="username" required>
<button>Next</button>
</form>
{% endblock %}
"""

_PASSWORD = """{% extends "layout" %}
{% block main %}
<h1>Enter password</h1>
<p>{{ username }}</p>
{% if problem %}<p role="alert">{{ problem }}</p>{% endif %}
<form method="post" action="{{ action }}">
<input type="hidden" name="account" value="{{ username }}">
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" required autofocus>
<button>Sign in</button>
</form>
{% endblock %}
"""

_CONSENT = """{% extends "layout" %}
{% block title %}{{ "Need admin approval" if admin else "Permissions requested" }}{% endblock %}
{% block main %}
<h1>{{ "Need admin approval" if admin else "Permissions requested" }}</h1>
<p>{{ username }}</p>
{% if admin %}
<p>{{ application }} needs permissions that only an administrator can grant. (AADSTS90094)</p>
{% else %}
<p>{{ application }} would like to sign you in and read your profile.</p>
{% endif %}
<form method="post" action="{{ action }}">
<input type="hidden" name="account" value="{{ username }}">
{% if admin %}
<button name="decision" value="decline">Return to the application without granting consent</button>
{% else %}
<button name="decision" value="accept">Accept</button>
<button name="decision" value="decline">Cancel</button>
{% endif %}
</form>
{% endblock %}
"""

_FORM_POST = """{% extends "layout" %}
{% block title %}Working{% endblock %}
{% block main %}
<h1>One moment</h1>
<form method="post" action="{{ action }}">
{% for name, value in fields.items() %}
<input type="hidden" name="{{ name }}" value="{{ value }}">
{% endfor %}
<noscript><p>Scripts are off. Press the button to go on.</p></noscript>
<button>Continue</button>
</form>
<script>document.forms[0].submit()</script>
{% endblock %}
"""

_ERROR = """{% extends "layout" %}
{% block main %}
<h1>Sorry, but we're having trouble signing you in.</h1>
<p role="alert">{{ error.error_description }}</p>
<dl>
<dt>Request Id</dt><dd>{{ error.trace_id }}</dd>
<dt>Correlation Id</dt><dd>{{ error.correlation_id }}</dd>
<dt>Timestamp</dt><dd>{{ error.timestamp }}</dd>
</dl>
{% endblock %}
"""

_SIGNED_OUT = """{% extends "layout" %}
{% block title %}Signed out{% endblock %}
{% block main %}
<h1>You signed out of your account</h1>
{% if target %}
<p><a href="{{ target }}">Continue</a></p>
<script>
const go = () => location.replace(document.querySelector("a").href);
addEventListener("load", go); // fires when every frame has loaded
setTimeout(go, 5000);
</script>
{% else %}
<p>You may close this window.</p>
{% endif %}
{% for frame in frames %}
<iframe src="{{ frame }}" title="Signing out" hidden></iframe>
{% endfor %}
{% endblock %}
"""

_PAGES = Environment(
    autoescape=True,
    trim_blocks=True,
    loader=DictLoader(
        {
            "layout": _LAYOUT,
            "pick": _PICK,
            "password": _PASSWORD,
            "consent": _CONSENT,
            "form_post": _FORM_POST,
            "error": _ERROR,
            "signed_out": _SIGNED_OUT,
        }
    ),
)


def pick(action: str, application: str, people: Sequence[Person]) -> str:
    """Offer accounts, and a field for another one."""
    return _PAGES.get_template("pick").render(action=action, application=application, people=people)


def password(action: str, username: str, problem: str = "") -> str:
    """Ask for the password of one account."""
    return _PAGES.get_template("password").render(action=action, username=username, problem=problem)


def consent(action: str, application: str, username: str, *, admin: bool) -> str:
    """Ask to accept or decline; where an administrator must consent, only to go back."""
    return _PAGES.get_template("consent").render(
        action=action, application=application, username=username, admin=admin
    )


def form_post(action: str, fields: Mapping[str, str]) -> str:
    """Post the answer to the application (OAuth 2.0 Form Post Response Mode)."""
    return _PAGES.get_template("form_post").render(action=action, fields=fields)


def error_page(error: Json) -> str:
    """Show an error that does not go back to the application."""
    return _PAGES.get_template("error").render(error=error)


def signed_out(target: str, frames: Sequence[str]) -> str:
    """Load each application's sign-out address in a frame, then go on."""
    return _PAGES.get_template("signed_out").render(target=target, frames=frames)
