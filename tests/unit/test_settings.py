"""The configuration: defaults that work, and every mistake told at once, by name and never by value."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from datetime import timedelta
from pathlib import Path

import pytest

from config.settings import SettingsError, SettingsSchema, load_settings, render_example

ENV_EXAMPLE = Path(__file__).parents[2] / "config" / "env.example"


def mistakes(**environ: str) -> list[str]:
    """What is said about an environment that cannot be right."""
    with pytest.raises(SettingsError) as caught:
        load_settings({f"FRONTDESK_{name}": value for name, value in environ.items()})
    return str(caught.value).splitlines()


def test_nothing_set_is_a_working_configuration() -> None:
    settings = load_settings({"HOME": "/elsewhere", "PORT": "nonsense"})
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.public_url == "http://127.0.0.1:8000"
    assert settings.database_url == f"sqlite:///{Path('data/frontdesk.sqlite3')}"
    assert settings.keys_file == Path("data/keys.json")
    assert sum(settings.retry_schedule, timedelta()) > timedelta(days=7)


@pytest.mark.parametrize(("host", "url"), [("::1", "http://[::1]:8000"), ("desk.lan", "http://desk.lan:8000")])
def test_the_address_where_none_is_given(host: str, url: str) -> None:
    assert load_settings({"FRONTDESK_HOST": host}).public_url == url


@pytest.mark.parametrize("url", ["https://leads.example:https", "https://leads.example:80800", "http://[::1"])
def test_an_address_that_cannot_be_is_told(url: str) -> None:
    assert mistakes(PUBLIC_URL=url) == ["FRONTDESK_PUBLIC_URL: holds a host or port that cannot be right"]


def test_every_variable_is_read() -> None:
    settings = load_settings(
        {
            "FRONTDESK_PORT": "9000",
            "FRONTDESK_PUBLIC_URL": "https://leads.example/",
            "FRONTDESK_RETRY_SCHEDULE": "0s, 5m,2h,1d",
            "FRONTDESK_RATE_LIMIT_EXEMPT": "10.0.0.0/8, ::1",
            "FRONTDESK_KEYS_FILE": "/safe/keys.json",
        }
    )
    assert settings.port == 9000
    assert settings.public_url == "https://leads.example"
    assert settings.retry_schedule == (timedelta(0), timedelta(minutes=5), timedelta(hours=2), timedelta(days=1))
    assert settings.rate_limit_exempt == {"10.0.0.0/8", "::1"}
    assert settings.keys_file == Path("/safe/keys.json")


def test_a_home_folder_may_stand_in_both_paths() -> None:
    settings = load_settings({"FRONTDESK_DATA_DIR": "~/clinic", "FRONTDESK_KEYS_FILE": "~/safe/keys.json"})
    assert (settings.data_dir, settings.keys_file) == (Path.home() / "clinic", Path.home() / "safe/keys.json")


def test_an_empty_variable_is_as_good_as_none() -> None:
    assert load_settings({"FRONTDESK_PORT": ""}).port == 8000


def test_an_override_is_stronger_than_the_environment() -> None:
    assert load_settings({"FRONTDESK_PORT": "9000"}, port="9001").port == 9001


def test_all_mistakes_are_told_at_once_by_name_and_never_by_value() -> None:
    told = mistakes(
        PORT="s3cret-port",
        LOG_LEVEL="s3cret-level",
        RETRY_SCHEDULE="s3cret",
        RATE_LIMIT_EXEMPT="s3cret-net",
        CRM_TIMEOUT="-7",
        DATABASE_URI="postgres://u:s3cret@h/d",
        RATE_LIMIT_FILE="/s3cret/is/not/there",
    )
    names = {line.split(":")[0] for line in told}
    assert names == {
        "FRONTDESK_PORT",
        "FRONTDESK_LOG_LEVEL",
        "FRONTDESK_RETRY_SCHEDULE",
        "FRONTDESK_RATE_LIMIT_EXEMPT",
        "FRONTDESK_CRM_TIMEOUT",
        "FRONTDESK_DATABASE_URI",
        "FRONTDESK_RATE_LIMIT_FILE",
    }
    assert "s3cret" not in "\n".join(told)
    assert "-7" not in "\n".join(told)


@pytest.mark.parametrize("port", ["-1", "65536", "8000.5"])
def test_a_port_is_a_port(port: str) -> None:
    assert mistakes(PORT=port)[0].startswith("FRONTDESK_PORT: ")


@pytest.mark.parametrize(("typed", "meant"), [("PROT", "PORT"), ("DATABASE", "DATABASE_URL"), ("DATADIR", "DATA_DIR")])
def test_a_slip_of_the_pen_is_recognised(typed: str, meant: str) -> None:
    assert mistakes(**{typed: "x"}) == [f"FRONTDESK_{typed}: there is no such setting; did you mean FRONTDESK_{meant}?"]


def test_what_is_like_nothing_gets_no_hint() -> None:
    assert mistakes(XYZZY="1") == ["FRONTDESK_XYZZY: there is no such setting"]


def test_a_lease_must_outlive_a_call() -> None:
    assert mistakes(LEASE_SECONDS="20", CRM_TIMEOUT="20") == [
        "FRONTDESK_LEASE_SECONDS: must be longer than FRONTDESK_CRM_TIMEOUT"
    ]


def test_a_secret_may_come_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "url"
    file.write_text("postgresql://u:p@db/frontdesk\r\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    for path in (str(file), "~/url"):
        settings = load_settings({"FRONTDESK_DATABASE_URL_FILE": path})
        assert settings.database_url == "postgresql+psycopg://u:p@db/frontdesk"


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_spelling_of_postgresql_is_taken(scheme: str) -> None:
    settings = load_settings({"FRONTDESK_DATABASE_URL": f"{scheme}://u@db/frontdesk"})
    assert settings.database_url == "postgresql+psycopg://u@db/frontdesk"


def test_a_mail_server_is_asked_for_where_addresses_are_given() -> None:
    assert mistakes(ALERT_EMAILS="ops@clinic.example") == [
        "FRONTDESK_SMTP_HOST: is needed to send to FRONTDESK_ALERT_EMAILS",
        "FRONTDESK_SMTP_FROM: is needed to send to FRONTDESK_ALERT_EMAILS",
    ]


@pytest.mark.parametrize(("security", "port"), [("starttls", 587), ("tls", 465), ("none", 25)])
def test_a_mail_server_has_its_usual_port_and_sender(security: str, port: int) -> None:
    settings = load_settings(
        {
            "FRONTDESK_ALERT_EMAILS": "ops@clinic.example, it@agency.example",
            "FRONTDESK_SMTP_HOST": "mail.example",
            "FRONTDESK_SMTP_SECURITY": security,
            "FRONTDESK_SMTP_USER": "frontdesk@clinic.example",
        }
    )
    assert settings.alert_emails == {"ops@clinic.example", "it@agency.example"}
    assert (settings.smtp_port, settings.smtp_from) == (port, "frontdesk@clinic.example")


def test_durations_and_hours() -> None:
    settings = load_settings({"FRONTDESK_ALERT_AFTER": "2h", "FRONTDESK_DIGEST_AT": "off"})
    assert (settings.alert_after, settings.digest_at) == (timedelta(hours=2), None)
    assert (load_settings({}).alert_after, load_settings({}).digest_at) == (timedelta(minutes=30), 8)
    told = mistakes(ALERT_AFTER="30", DIGEST_AT="24", ALERT_EMAILS="nobody", METRICS_TOKEN="short", SMTP_FROM="a@b c")
    assert len(told) == 5


def test_no_secret_is_shown() -> None:
    secrets = {"SMTP_PASSWORD": "s3cret", "ALERT_URLS": "mailto://u:s3cret@h", "METRICS_TOKEN": "s3cret-s3cret-s3cret"}
    assert "s3cret" not in repr(load_settings({f"FRONTDESK_{name}": value for name, value in secrets.items()}))


def test_settings_do_not_change_and_do_not_show_the_password() -> None:
    settings = load_settings({"FRONTDESK_DATABASE_URL": "postgres://u:s3cret@db/frontdesk"})
    assert "s3cret" not in repr(settings)
    with pytest.raises(FrozenInstanceError):
        settings.port = 1  # type: ignore[misc]


def test_the_example_file_is_what_the_settings_are() -> None:
    assert ENV_EXAMPLE.read_text(encoding="utf-8") == render_example()


def test_the_example_uncommented_is_the_default() -> None:
    lines = [line[1:] for line in render_example().splitlines() if line.startswith("#FRONTDESK_")]
    environ = dict(line.split("=", 1) for line in lines)
    assert len(environ) == len(SettingsSchema().fields)
    assert load_settings(environ) == load_settings({})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DATABASE_URL", "mysql://user:hidden@host/name"),
        ("DATABASE_URL", "hidden"),
        ("PUBLIC_URL", "hidden"),
        ("ALLOWED_PRIVATE_HOSTS", "http://hidden/"),
    ],
)
def test_an_address_of_the_wrong_form_is_told_at_the_start(variable: str, value: str) -> None:
    [told] = mistakes(**{variable: value})
    assert told.startswith(f"FRONTDESK_{variable}: must be")
    assert "hidden" not in told


def test_what_does_not_fit_together_is_told_beside_what_is_wrong_by_itself() -> None:
    told = mistakes(
        PORT="x",
        LEASE_SECONDS="5",
        CRM_TIMEOUT="20",
        ALERT_EMAILS="ops@clinic.example",
        DATABASE_URL="postgres://h:x/d",
    )
    assert {line.split(":")[0] for line in told} == {
        "FRONTDESK_PORT",
        "FRONTDESK_LEASE_SECONDS",
        "FRONTDESK_SMTP_HOST",
        "FRONTDESK_SMTP_FROM",
        "FRONTDESK_DATABASE_URL",
    }


def test_what_hangs_on_a_wrong_setting_is_not_held_against_the_others() -> None:
    told = mistakes(CRM_TIMEOUT="900", ALERT_EMAILS="nobody", SMTP_FROM="nobody")
    assert {line.split(":")[0] for line in told} == {
        "FRONTDESK_CRM_TIMEOUT",
        "FRONTDESK_ALERT_EMAILS",
        "FRONTDESK_SMTP_FROM",
    }


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:s3cret@h:port/d",
        "postgresql://u:s3cret@h:54x32/d",
        "postgres://u:s3:cret@h@x:y/d",
        "sqlite://",
        "sqlite:///:memory:",
        "mysql://u:s3cret@h/d",
    ],
)
def test_the_address_of_a_database_that_cannot_be_read_is_told_without_it(url: str) -> None:
    (told,) = mistakes(DATABASE_URL=url)
    assert told.startswith("FRONTDESK_DATABASE_URL: ")
    assert "s3" not in told


@pytest.mark.parametrize(
    "spec", ["claim.written", "claim.written:explode", "claim.written:kill:x", "a:kill:0", "a:kill,"]
)
def test_failpoints_that_cannot_be_are_told_in_a_sentence(spec: str) -> None:
    assert mistakes(FAIL_AT=spec)[0].startswith("FRONTDESK_FAIL_AT: must be POINT:ACTION")
    assert load_settings({"FRONTDESK_FAIL_AT": "claim.written:kill:2,finish.written:raise"}).fail_at


def test_a_value_and_a_file_with_it_are_told_and_not_chosen_between(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("of the file")
    both = {"FRONTDESK_METRICS_TOKEN": "of the environment", "FRONTDESK_METRICS_TOKEN_FILE": str(file)}
    with pytest.raises(SettingsError, match="FRONTDESK_METRICS_TOKEN is set as well"):
        load_settings(both)
