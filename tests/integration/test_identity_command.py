"""`python -m ordersys.identity` as a process: what it makes is private, whole and good, and nothing secret is shown."""

import base64
import os
import re
import shutil
import signal
import ssl
import stat
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc
import jwt
import pytest
from grpc_health.v1.health import HealthServicer
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub, add_HealthServicer_to_server

from ordersys.api.auth.v1.access_pb2 import Role
from ordersys.contract import access
from ordersys.identity.authority import Authority, utc_now
from ordersys.runtime.identity.certificates import Certificates

MODULE = ("-m", "ordersys.identity")
NAMES = [
    *("notification-service-1", "notification-service-2", "order-service", "product-service"),
    *("rabbitmq", "topology", "observer"),
]
SERVICES = NAMES[:4]
SECURITY = Path(__file__).parent.parent.parent / "docs" / "security.md"
OPENSSL = shutil.which("openssl") or ""
SECRETS = ("*.key", "*/key.pem", "tokens/*")
KILLED = """
import os, runpy, sys
from pathlib import Path

def replace(source, target, replaced=Path.replace, left=iter(range(int(sys.argv.pop(1))))):
    if next(left, None) is None:
        os.kill(os.getpid(), 9)
    return replaced(source, target)

Path.replace = replace
runpy.run_module("ordersys.identity", run_name="__main__", alter_sys=True)
"""
STOPPED = KILLED.replace("os.kill(os.getpid(), 9)", "print('x', flush=True); __import__('time').sleep(60)")


def run(*arguments: str | Path, command: Sequence[str] = MODULE, umask: int = -1) -> "subprocess.CompletedProcess[str]":
    """Runs the command to its end."""
    words = [sys.executable, *command, *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, umask=umask)


def done(*arguments: str | Path) -> str:
    """The output of a command that did as it was claims."""
    ended = run(*arguments)
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


def refused(*arguments: str | Path) -> str:
    """The one line of a command that can't do as it was claims."""
    ended = run(*arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("python -m ordersys.identity: ")
    assert ended.stderr.count("\n") == 1
    return ended.stderr


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that `init` has made."""
    folder = tmp_path_factory.mktemp("made") / "identity"
    done("init", folder)
    return folder


@pytest.fixture
def folder(tmp_path: Path, made: Path) -> Path:
    """A copy of it, to change."""
    return shutil.copytree(made, tmp_path / "identity")


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a folder but the one for git."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".gitignore"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def verified(token: str, folder: Path) -> dict[str, object]:
    """The claims of a token, by the key set of the folder."""
    keys = jwt.PyJWKSet.from_json((folder / "token-keys.json").read_text())
    key = keys[jwt.get_unverified_header(token)["kid"]]
    return jwt.decode(token, key, ["ES256"], audience=access.AUDIENCE, issuer=access.ISSUER)


def forms(secret: bytes) -> set[str]:
    """The ways in which a secret could be written: line by line, as it is, in base64, in a URL."""
    lines = [line for line in secret.decode().split() if len(line) > 30]
    return {form for line in lines for form in (line, base64.b64encode(line.encode()).decode(), quote(line, safe=""))}


@pytest.mark.parametrize("umask", [0, 0o022, 0o077, 0o177])
def test_modes_hold_under_any_umask(tmp_path: Path, umask: int) -> None:
    """Also of the folders that had to be made for it."""
    folder = tmp_path / "above" / "identity"
    assert run("init", folder, umask=umask).returncode == 0
    public = {"ca.pem", "token-keys.json", "certificate.pem"}
    for path in [folder.parent, folder, *folder.rglob("*")]:
        mode = 0o700 if path.is_dir() else 0o644 if path.name in public else 0o600
        assert (path, stat.S_IMODE(path.stat().st_mode)) == (path, mode)


def test_init_makes_a_whole_folder_and_says_how_to_use_it(tmp_path: Path) -> None:
    """The settings it prints are those of files that are there."""
    folder = tmp_path / "with space"
    said = done("init", folder, "--customer", "dora", "--customer=emil")
    made = {line.removeprefix("made ") for line in said.splitlines() if line.startswith("made ")}
    assert made == {str(folder / name) for name in contents(folder)}
    assert {path.stem for path in (folder / "tokens").iterdir()} == {"operator", "dora", "emil"}
    script = "\n".join(line for line in said.splitlines() if "export " in line)
    shown = subprocess.run(["/bin/sh", "-c", f"{script}\nenv"], capture_output=True, text=True, check=True).stdout
    settings = dict(line.partition("=")[::2] for line in shown.splitlines() if line.startswith("ORDERSYS_"))
    assert settings["ORDERSYS_TLS_CERTIFICATE_FILE"] == str(folder / "product-service" / "certificate.pem")
    assert settings["ORDERSYS_TOKEN_FILE"] == str(folder / "tokens" / "emil.token")
    assert all(Path(settings[name]).is_file() for name in settings if name.endswith("_FILE"))


def test_a_second_init_leaves_what_is_good(folder: Path) -> None:
    """Tokens alone are made anew: they end within the hour."""
    before = contents(folder)
    said = done("init", folder)
    assert sorted(line for line in said.splitlines() if line.startswith("made ")) == sorted(
        f"made {folder}/tokens/{name}.token" for name in ("operator", "anna", "ben", "carla")
    )
    after = contents(folder)
    assert after.keys() == before.keys()
    assert {name for name in after if after[name] != before[name]} == {name for name in after if "tokens/" in name}


def test_tokens_are_good_for_those_they_name(folder: Path) -> None:
    """By the key set alone."""
    scopes = {"operator": "ordersys.operator"} | dict.fromkeys(("anna", "ben", "carla"), "ordersys.customer")
    for name, scope in scopes.items():
        claims = verified((folder / "tokens" / f"{name}.token").read_text().strip(), folder)
        assert (claims["sub"], claims["scope"]) == (name, scope)


def test_nothing_secret_is_printed(tmp_path: Path) -> None:
    """By init, by certificate, and by show, of any file."""
    folder = tmp_path / "identity"
    said = done("init", folder)
    said += done("show", *(folder / name for name in contents(folder)))
    secrets = [path.read_bytes() for pattern in SECRETS for path in folder.glob(pattern)]
    said += done("certificate", folder, "rabbitmq")
    secrets.append((folder / "rabbitmq" / "key.pem").read_bytes())
    assert len(secrets) == 2 + len(NAMES) + 4 + 1
    words = {form for secret in secrets for form in forms(secret)}
    assert len(words) > len(secrets)
    assert [word for word in words if word in said] == []
    parts = {part for path in folder.glob("tokens/*") for part in path.read_text().strip().split(".")}
    assert [part for part in parts if part in said] == []


def test_a_token_alone_is_written_to_standard_output(folder: Path) -> None:
    """For a script that asks for one."""
    said = done("token", folder, "--operator", "olga", "--hours", "0.5")
    claims = verified(said.strip(), folder)
    assert (claims["sub"], claims["scope"]) == ("olga", "ordersys.operator")
    assert isinstance(claims["exp"], int) and isinstance(claims["iat"], int)
    assert claims["exp"] - claims["iat"] == 1800
    assert said.count("\n") == 1


def test_a_token_is_written_to_a_file_of_its_own(folder: Path, tmp_path: Path) -> None:
    """For this user alone; nothing is printed."""
    out = tmp_path / "token"
    for _ in range(2):
        assert run("token", folder, "--customer=anna", "--out", out, umask=0).stdout == ""
        assert verified(out.read_text().strip(), folder)["sub"] == "anna"
        assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["identity", "token"]


def test_a_certificate_is_made_anew_when_it_is_asked_for(folder: Path) -> None:
    """With a new key, and for as long as is asked."""
    before = contents(folder)
    said = done("certificate", folder, "topology", "--days", "7")
    assert said == "".join(f"made {folder}/topology/{name}\n" for name in ("key.pem", "certificate.pem"))
    after = contents(folder)
    assert {name for name in after if after[name] != before[name]} == {"topology/key.pem", "topology/certificate.pem"}
    assert "6 d 23 h left" in done("show", folder / "topology" / "certificate.pem")


@pytest.mark.skipif(not OPENSSL, reason="needs openssl")
@pytest.mark.parametrize("name", NAMES)
def test_openssl_finds_a_certificate_good(folder: Path, name: str) -> None:
    """For the ends of a connection that it is for, under each of its names."""
    certificate, ca = folder / name / "certificate.pem", folder / "ca.pem"
    nearby = [] if name in ("topology", "observer") else ["-verify_hostname=localhost", "-verify_ip=127.0.0.1"]
    purposes = {"rabbitmq": ["sslserver"], "topology": ["sslclient"], "observer": ["sslclient"]}
    for purpose in purposes.get(name, ["sslserver", "sslclient"]):
        for check in (f"-verify_hostname={name}", *nearby):
            flag, _, value = check.partition("=")
            words = ["-x509_strict", "-CAfile", str(ca), "-purpose", purpose, flag, value, str(certificate)]
            ended = subprocess.run([OPENSSL, "verify", *words], check=True, capture_output=True)
            assert ended.stdout.endswith(b": OK\n")


@pytest.mark.skipif(not OPENSSL, reason="needs openssl")
def test_certificates_of_an_authority_of_ones_own_are_those_of_the_page(tmp_path: Path) -> None:
    """The commands of docs/security.md make, with openssl alone, what each service takes."""
    (commands,) = re.findall(r"```sh\n(openssl req .+?)\n```", SECURITY.read_text(encoding="utf-8"), re.DOTALL)
    made, show = commands.rsplit("\n", 1)
    subprocess.run([shutil.which("sh") or "/bin/sh", "-ec", made], cwd=tmp_path, check=True, capture_output=True)
    for name in SERVICES:
        Certificates(
            tmp_path / "ca.pem", tmp_path / f"{name}.pem", tmp_path / f"{name}.key", f"spiffe://ordersys/service/{name}"
        )
    assert show.startswith("python -m ordersys.identity show order-service.pem")
    assert "spiffe://ordersys/service/order-service" in done("show", tmp_path / "order-service.pem")


def test_grpc_knows_both_ends_by_them(folder: Path) -> None:
    """The server sees the one SPIFFE id of its client; the client finds the name it asks for."""
    callers: list[bytes] = []

    class Health(HealthServicer):
        def Check(self, request: HealthCheckRequest, context: grpc.ServicerContext) -> HealthCheckResponse:
            identities: Any = context.auth_context()["peer_spiffe_id"]
            callers.extend(identities)
            return HealthCheckResponse(status=HealthCheckResponse.SERVING)

    ca = (folder / "ca.pem").read_bytes()
    key, chain = ((folder / "order-service" / name).read_bytes() for name in ("key.pem", "certificate.pem"))
    server = grpc.server(ThreadPoolExecutor(1))
    add_HealthServicer_to_server(Health(), server)
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, chain)], ca, True))
    server.start()
    key, chain = ((folder / "product-service" / name).read_bytes() for name in ("key.pem", "certificate.pem"))
    options = [("grpc.ssl_target_name_override", "order-service")]
    credentials = grpc.ssl_channel_credentials(ca, key, chain)
    with grpc.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel:
        stub: Any = HealthStub(channel)
        stub.Check(HealthCheckRequest(), timeout=20)
    server.stop(None).wait()
    assert callers == [b"spiffe://ordersys/service/product-service"]


@pytest.mark.parametrize("replaced", [0, 1, 3, 5, 18, 20])
def test_an_init_that_was_killed_is_completed_by_the_next(tmp_path: Path, replaced: int) -> None:
    """Between any two files; what was half written is gone."""
    folder = tmp_path / "identity"
    assert run(str(replaced), "init", folder, command=("-c", KILLED)).returncode == -signal.SIGKILL
    assert any(path.name.endswith(".new") for path in folder.rglob(".*"))
    done("init", folder)
    tokens = {f"tokens/{name}.token" for name in ("operator", "anna", "ben", "carla")}
    pairs = {f"{name}/{part}" for name in NAMES for part in ("certificate.pem", "key.pem")}
    assert contents(folder).keys() == {"ca.pem", "ca.key", "issuer.key", "token-keys.json"} | pairs | tokens
    for name in NAMES:  # which checks that the key fits
        context = ssl.create_default_context(cafile=folder / "ca.pem")
        context.load_cert_chain(folder / name / "certificate.pem", folder / name / "key.pem")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_without_a_trace(tmp_path: Path, number: signal.Signals) -> None:
    """In the middle of a file: nothing half written is left."""
    command = [sys.executable, "-c", STOPPED, "3", "init", str(tmp_path / "identity")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.send_signal(number)
        assert process.wait(30) == 128 + number
        assert process.stderr.read() == ""
    assert contents(tmp_path / "identity").keys() == {"ca.key", "ca.pem", "issuer.key"}


def test_two_at_a_time_make_one_authority(tmp_path: Path) -> None:
    """The later one finds what the earlier one has made."""
    words = [sys.executable, *MODULE, "init", str(tmp_path / "identity")]
    pair = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=60)[0] for process in pair]
    assert [process.returncode for process in pair] == [0, 0]
    assert "".join(said).count("ca.key\n") == 1


def test_unsafe_folders_are_refused(tmp_path: Path) -> None:
    """A planted link, one that others may write to, and no folder at all."""
    (tmp_path / "real").mkdir(0o700)
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "file").touch()
    assert "is a symbolic link; name the folder itself" in refused("init", tmp_path / "link")
    assert "may be written by others; chmod go-w it" in refused("init", tmp_path / "open")
    assert "is no folder" in refused("init", tmp_path / "file")
    assert [path for name in ("real", "open") for path in (tmp_path / name).iterdir()] == []


def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    """Made beforehand by somebody who would exchange the keys."""
    foreign = Path("/")
    if os.geteuid() == 0:
        foreign = tmp_path / "planted"
        foreign.mkdir(0o700)
        os.chown(foreign, 65534, -1)
    assert "belongs to another user (uid " in refused("init", foreign)


def test_a_folder_without_identities_is_told_how_to_get_them(tmp_path: Path) -> None:
    """It is not made in passing."""
    missing, empty = tmp_path / "missing", tmp_path / "empty"
    empty.mkdir(0o700)
    for folder in (missing, empty):
        for words in (("token", folder, "--customer=anna"), ("certificate", folder, "rabbitmq")):
            assert f"is missing; python -m ordersys.identity init {folder} makes it" in refused(*words)
    assert not missing.exists()


def test_a_current_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    """In one line, where a path begins from it."""
    words = (
        f"cd {tmp_path}; rmdir {tmp_path}; PYTHONPATH={Path.cwd()} exec {sys.executable} -m ordersys.identity init x"
    )
    ended = subprocess.run(["/bin/sh", "-c", words], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.endswith(
        "x can't be found from the current folder: No such file or directory; mend that, or name another one\n"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "required: COMMAND"),
        (["init"], "required: DIR"),
        (["init", "DIR", "--customer=Anna"], "'Anna' must be 1 to 64 lower-case letters"),
        (["init", "DIR", "--customer=operator"], "'operator' is the name of the operator's token"),
        (["certificate", "DIR", "order-servise"], f"must be one of {', '.join(NAMES)}, did you mean order-service?"),
        (["certificate", "DIR", "rabbitmq", "--days=91"], "'91' must be from 1 to 90 days"),
        (["certificate", "DIR", "rabbitmq", "--days=x"], "'x' must be from 1 to 90 days"),
        (["token", "DIR"], "one of the arguments --customer --operator is required"),
        (["token", "DIR", "--customer=a", "--operator=b"], "not allowed with"),
        (["token", "DIR", "--customer=a", "--hours=25"], "'25' must be more than 0 and at most 24 hours"),
        (["token", "DIR", "--customer=a", "--hours=nan"], "'nan' must be more than 0 and at most 24 hours"),
        (["token", "DIR", "--customer=a", "--out=/dev/null"], "/dev/null is no regular file"),
        (["token", "DIR", "--customer=a", "--out=/no/such/folder"], "/no/such/folder can't be written: No such file"),
        (["show", "/dev/zero"], "/dev/zero can't be read: is no regular file"),
        (["show", "/no/such/file"], "/no/such/file is missing"),
        (["shwo"], "there is no command 'shwo', did you mean show?"),
    ],
)
def test_wrong_use_is_one_line(folder: Path, words: list[str], said: str) -> None:
    """It names the thing and the way out; nothing is changed."""
    before = contents(folder)
    assert said in refused(*(str(folder) if word == "DIR" else word for word in words))
    assert contents(folder) == before


def test_show_says_what_has_expired(folder: Path) -> None:
    """Status 1; the others are shown as well. Status 2 where one is nothing of all this."""
    earlier = Authority(folder, lambda: utc_now() - timedelta(hours=2))
    token = earlier.write_token("dora", [Role.ROLE_CUSTOMER])
    ended = run("show", token, folder / "ca.pem")
    assert ended.returncode == 1
    assert "expired" in ended.stdout
    assert f"{folder}/ca.pem: certificate" in ended.stdout
    assert run("show", token, Path(__file__)).returncode == 2


def test_show_says_whose_a_certificate_is(folder: Path, tmp_path: Path) -> None:
    """By the authority beside it or one folder above."""
    certificate = folder / "order-service" / "certificate.pem"
    said = done("show", certificate)
    assert "spiffe://ordersys/service/order-service\n" in said
    assert "by the authority in ca.pem" in said
    done("init", tmp_path / "other")
    shutil.copy(certificate, tmp_path / "other" / "strange.pem")
    assert "by another authority than ca.pem's" in done("show", tmp_path / "other" / "strange.pem")
