"""`frontdesk serve`: start all, wait until it answers, and say where to look."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from datetime import timedelta

import requests

from config.settings import PREFIX, Settings, local_address
from leads.commands.office import CANNOT_OPEN, Office, fail, say
from leads.demo.seed import Login, seed
from leads.serve import ServeError, Supervisor, environment, require_port
from leads.sync.setup import Setup
from leads.upkeep import logs

_PATIENCE = 30.0  # seconds until all should answer
_DEMO_KEY = "sandbox-key"


def run(office: Office, *, demo: bool) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    logs.configure(office.settings.log_level)
    settings = _demo_settings(office.settings) if demo else office.settings
    _ = office.vault  # the data is opened, and what is wrong with it told, before anything starts
    environ = environment(settings)
    supervisor = Supervisor(environ)
    supervisor.add("web", "-m", "leads", "web")
    supervisor.add("worker", "-m", "leads", "worker")
    login = None
    try:
        require_port(settings.host, settings.port, "FRONTDESK_PORT")
        if demo:
            if settings.sandbox_port == settings.port:
                raise ServeError("FRONTDESK_PORT and FRONTDESK_SANDBOX_PORT are the same. Change one of them.")
            require_port("127.0.0.1", settings.sandbox_port, "FRONTDESK_SANDBOX_PORT")
            login = _prepare_demo(office, settings, supervisor)
    except ServeError as error:
        fail(str(error), CANNOT_OPEN)
    supervisor.run(lambda: _welcome(settings, supervisor, login))
    say("Stopped.")


def _demo_settings(settings: Settings) -> Settings:
    """A demo may call its own sandbox, and forgives whoever fills in the form by a script."""
    sandbox = f"127.0.0.1:{settings.sandbox_port}"
    return replace(
        settings,
        allowed_private_hosts=settings.allowed_private_hosts | {sandbox},
        form_min_seconds=settings.form_min_seconds if PREFIX + "FORM_MIN_SECONDS" in os.environ else 0.2,
        canary_every=settings.canary_every or timedelta(hours=1),
    )


def _prepare_demo(office: Office, settings: Settings, supervisor: Supervisor) -> Login:
    # Beside our data, not in it: it plays the outside world, and keeps what it gets as a CRM does, readable.
    folder = settings.data_dir.absolute().with_name(settings.data_dir.absolute().name + "-sandbox")
    supervisor.add(
        "sandbox", "-m", "sandbox_crm", "--port", str(settings.sandbox_port), "--data", str(folder), "--key", _DEMO_KEY
    )
    setup = Setup(office.database, office.vault, office.limits, by="the demo")
    return seed(setup, settings.public_url, {"url": f"http://127.0.0.1:{settings.sandbox_port}", "key": _DEMO_KEY})


def _welcome(settings: Settings, supervisor: Supervisor, login: Login | None) -> None:
    """Wait until all is up, then say where to look and what to try."""
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - no bind
    local = local_address(everywhere.get(settings.host, settings.host), settings.port)
    until = time.monotonic() + _PATIENCE
    while not supervisor.stopping and time.monotonic() < until:
        if _is_ready(local):
            say(_banner(settings, login))
            return
        time.sleep(0.1)
    if not supervisor.stopping:
        say(f"Not everything answers yet. See {local}/readyz and the lines above.", err=True)


def _is_ready(local: str) -> bool:
    try:
        with requests.Session() as session:
            session.trust_env = False
            return session.get(f"{local}/readyz", timeout=2).status_code == 200
    except requests.RequestException:
        return False


def _banner(settings: Settings, login: Login | None) -> str:
    url = settings.public_url
    if login is None:
        return f"Frontdesk is up.\n  Desk   {url}/desk/\n  Ctrl-C stops it."
    password = f"one-time password {login.password}" if login.password else "with the password you have set"
    return f"""
Frontdesk is up.

  1. The demo clinic   {url}/demo/
  2. The desk          {url}/desk/   sign in as {login.name}, {password}
  3. The sandbox CRM   http://127.0.0.1:{settings.sandbox_port}/   its key is {_DEMO_KEY}

Try this: send the form of the demo clinic, and watch it arrive at the desk and in the sandbox CRM.
Then switch a fault on in the sandbox CRM, send another one, and see what the desk says.
Ctrl-C stops everything; your data stays in {settings.data_dir}, the sandbox CRM's in {settings.data_dir}-sandbox.
"""
