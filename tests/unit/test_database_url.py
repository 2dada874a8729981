"""ORDERSYS_DATABASE_URL: libpq's form, shown without its secrets, given by a variable or a file."""

from pathlib import Path

import pytest

from ordersys.order_service.settings import OrderSettings
from ordersys.runtime.base.database_url import WANTED, parse
from ordersys.runtime.base.settings import InvalidSetting, read

SECRET = "s3cr3t"
VARIABLE = "ORDERSYS_DATABASE_URL"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u@h/d", "h:5432/d"),
        ("postgres://u:s3cr3t@h:5433/d", "h:5433/d"),
        ("postgresql://u:s3cr3t@h1:1,h2:2/d?target_session_attrs=any", "h1:1,h2:2/d"),
        ("postgresql://u:s3cr3t@h1,h2/d", "h1:5432,h2:5432/d"),
        ("postgresql://u:s3cr3t%40%2F@[::1]:5432/d?sslmode=require", "::1:5432/d"),
    ],
)
def test_what_is_shown_is_hosts_ports_and_name(url: str, shown: str) -> None:
    """Neither user nor password."""
    database = parse(url)
    assert str(database) == shown
    assert SECRET not in repr(database)


def test_a_server_that_vanishes_is_noticed_unless_the_url_says_otherwise() -> None:
    """Time limits of libpq's are ours; the primary of several hosts is looked for."""
    database = parse("postgresql://u@h/d?connect_timeout=9")
    assert database is not None
    assert "connect_timeout=9" in database.conninfo
    assert "tcp_user_timeout=10000" in database.conninfo
    assert "target_session_attrs=read-write" in database.conninfo


@pytest.mark.parametrize(
    "url",
    [
        "h/d",
        "mysql://u:s3cr3t@h/d",
        "postgresql://u:s3cr3t@h:port/d",
        "postgresql://u:s3cr3t@h:70000/d",
        "postgresql://u:s3cr3t@h/d?s3cr3t=1",
        "postgresql://u:s3cr3t/x@h/d",
        "postgresql://u:s3cr3t@x@h/d",
        "postgresql://u:s3cr3t%@h/d",
        "postgresql://u:s3cr3t#@h/d",
        "postgresql://u:s3cr3t @h/d",
        "postgresql://u:s3cr3tü@h/d",
        "postgresql://u:s3cr3t@h,i/d?port=1,2,3",
        "postgresql://u:s3cr3t@h,i/d?hostaddr=127.0.0.1",
    ],
)
def test_a_url_that_cannot_be_read_is_refused_without_its_password(url: str) -> None:
    """One sentence that names the variable and an example."""
    with pytest.raises(InvalidSetting) as refused:
        read(OrderSettings, {VARIABLE: url})
    assert str(refused.value).startswith(f"{VARIABLE} must be {WANTED}: it ")
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ("sslmode=s3cr3t", "sslmode"),
        ("sslmod=require", "did you mean sslmode"),
        ("target_session_attrs=s3cr3t", "target_session_attrs"),
        ("ssl_min_protocol_version=s3cr3t", "ssl_min_protocol_version"),
        ("ssl_min_protocol_version=TLSv1.3&ssl_max_protocol_version=TLSv1.2", "SSL protocol version range"),
        ("service=s3cr3t", "service"),
        ("connect_timeout=s3cr3t", "connect_timeout"),
        ("keepalives_idle=s3cr3t", "keepalives_idle"),
        ("tcp_user_timeout=s3cr3t", "tcp_user_timeout"),
        ("hostaddr=s3cr3t", "hostaddr"),
        ("sslmode=verify-full&sslrootcert=/nowhere/ca.pem", "sslrootcert"),
        ("sslmode=verify-ca", "sslrootcert"),
        ("sslcert=/nowhere/c.pem", "sslcert"),
        ("sslkey=/nowhere/k.pem", "sslkey"),
    ],
)
def test_what_libpq_refuses_at_once_is_refused_by_its_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: str, named: str
) -> None:
    """Before anything starts, since no server changes it. Its value may be a secret in the wrong place: not shown."""
    monkeypatch.setenv("HOME", str(tmp_path))  # where libpq looks for certificates that nobody has named
    with pytest.raises(InvalidSetting) as refused:
        read(OrderSettings, {VARIABLE: f"postgresql://u@h/d?{options}"})
    assert str(refused.value).startswith(f"{VARIABLE} must be {WANTED}: it ")
    assert named in str(refused.value)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    "options",
    ["sslmode=verify-full&sslrootcert=system", "sslrootcert={file}", "keepalives=1", "gssencmode=prefer"],
)
def test_what_only_a_server_can_refuse_is_taken(tmp_path: Path, options: str) -> None:
    """Nobody is asked."""
    (file := tmp_path / "ca.pem").touch()
    assert str(parse(f"postgresql://u@h/d?{options.format(file=file)}")) == "h:5432/d"


@pytest.mark.parametrize(
    ("name", "value"),
    [("PGHOSTADDR", "192.0.2.1"), ("PGPORT", "5432,5433"), ("PGHOST", "a,b"), ("PGGSSENCMODE", "require")],
)
def test_what_libpq_finds_in_its_environment_is_no_reason_to_refuse(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """It is for the connection itself; and nobody is reached by it now."""
    monkeypatch.setenv(name, value)
    assert str(parse("postgresql://u@h1:1,h2:2/d")) == "h1:1,h2:2/d"


def test_a_user_without_a_home_may_verify_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container, under a number that no name belongs to."""
    monkeypatch.setattr(Path, "home", classmethod(_homeless))
    assert str(parse("postgresql://u@h/d")) == "h:5432/d"
    with pytest.raises(ValueError, match="sslrootcert"):
        parse("postgresql://u@h/d?sslmode=verify-full")


def _homeless(_: type[Path]) -> Path:
    raise RuntimeError("Could not determine home directory.")


def test_without_the_driver_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """pip install 'ordersys[postgresql]'."""
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    monkeypatch.setitem(__import__("sys").modules, "psycopg.conninfo", None)
    with pytest.raises(InvalidSetting, match=r"pip install 'ordersys\[postgresql\]'"):
        read(OrderSettings, {VARIABLE: "postgresql://u:s3cr3t@h/d"})


def test_a_secret_may_stand_in_a_file(tmp_path: Path) -> None:
    """As container platforms mount them, with a line end behind it."""
    file = tmp_path / "url"
    file.touch(0o600)
    file.write_text("postgresql://u:s3cr3t@h/d\n")
    assert str(read(OrderSettings, {f"{VARIABLE}_FILE": str(file)}).database_url) == "h:5432/d"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """And why."""
    with pytest.raises(InvalidSetting, match=rf"{VARIABLE}_FILE is '.*none', which can't be read: No such file"):
        read(OrderSettings, {f"{VARIABLE}_FILE": str(tmp_path / "none")})


def test_a_file_without_a_secret_is_named(tmp_path: Path) -> None:
    """The default would not do: orders would go into a file that nobody looks for."""
    (file := tmp_path / "url").touch(0o600)
    file.write_text(" \n")
    with pytest.raises(InvalidSetting, match=rf"{VARIABLE}_FILE is '.*url', which is empty; put the secret into it"):
        read(OrderSettings, {f"{VARIABLE}_FILE": str(file)})


def test_a_secret_that_others_may_read_is_refused(tmp_path: Path) -> None:
    """With the way out, and nothing of it."""
    (file := tmp_path / "url").write_text("postgresql://u:s3cr3t@h/d")
    file.chmod(0o644)
    with pytest.raises(
        InvalidSetting, match=rf"{VARIABLE}_FILE is '.*url', which may be read.*; chmod 600 it"
    ) as open_:
        read(OrderSettings, {f"{VARIABLE}_FILE": str(file)})
    assert SECRET not in str(open_.value)


def test_a_secret_is_given_once() -> None:
    """Not by both: which one counts could only be guessed."""
    with pytest.raises(InvalidSetting, match="are both given"):
        read(OrderSettings, {VARIABLE: "postgresql://u@h/d", f"{VARIABLE}_FILE": "/x"})


def test_without_it_nothing_of_the_driver_is_imported() -> None:
    """It takes memory that a service with files has a use for."""
    import subprocess  # noqa: PLC0415
    import sys  # noqa: PLC0415

    code = "import sys, ordersys.product_service.__main__; print([m for m in sys.modules if 'psycopg' in m])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
