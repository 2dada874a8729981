"""Everything this project does, as sessions; `nox -l` lists them.

Each session installs what it needs and makes the stubs first, so that none depends on another.
"""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import nox
from nox.command import CommandFailed

# uv trusts the certificates the system trusts, as pip does: behind a company's proxy both work, or neither.
os.environ.setdefault("UV_SYSTEM_CERTS", "true")
# No Python is downloaded unasked, however an interpreter is looked for.
os.environ.setdefault("UV_PYTHON_DOWNLOADS", "never")
# Tests start a thousand processes, each of which would compile whatever it imports. Who wants no bytecode beside the
# source has it beside the environments.
if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
    os.environ["PYTHONPYCACHEPREFIX"] = str(Path(".nox", "bytecode").resolve())
nox.needs_version = ">=2025.10.14"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["codegen", "tests"]

NPM_OPTIONS = ("--ignore-scripts", "--silent", "--fetch-retries=0")
NODE_EXAMPLE = "examples/order-service-node"
# The laws that have to do with an Order Service, without those applied to our own services beside it.
ORDER_LAWS = tuple(f"tests/contract/laws/{folder}" for folder in ("durability", "messaging", "order", "rpc", "system"))
NOT_OURS = " and ".join(
    f"not {name}" for name in ("product-service", "ProductService", "notification-service", "NotificationService")
)
ASYNCAPI_PARSER = "@asyncapi/parser@3.6.6"
ASYNCAPI_PAGE = "@asyncapi/react-component@3.2.1"
# Those that read .proto files or descriptor sets in Node. proto-loader takes the protobufjs that is named beside it.
PROTO_PARSERS = (
    "@bufbuild/protobuf@2.17.0",
    "@bufbuild/protoc-gen-es@2.17.0",
    "@grpc/proto-loader@0.8.1",
    "protobufjs@7.6.6",
    "protobufjs-8@npm:protobufjs@8.8.1",
)
# How long what is interrupted, or told to end, has for ending what it has started.
PATIENTLY: dict[str, Any] = {"interrupt_timeout": 60, "terminate_timeout": 60}

# Files of tests run at once, about one a core (tests/workers.py says when more, and where they don't).
AT_ONCE = ("-n", "auto")

PROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PROJECT)
# The suites of Debian that bring RabbitMQ 3.10, 4.0 and 4.3, and the tests that have to do with a broker.
SUITES = ("bookworm", "trixie", "forky")
BROKER_TESTS = (
    *(f"tests/contract/laws/messaging/test_{name}.py" for name in ("broker_trouble", "events", "live_topology")),
    *(f"tests/contract/laws/notification/test_{name}.py" for name in ("dead_letters", "subscribers")),
    "tests/contract/laws/product/test_given_up.py",
    "tests/contract/laws/rpc/test_health.py",
    *(
        f"tests/integration/test_{name}.py"
        for name in ("cluster", "consumer", "dead_letters", "health", "permissions", "poison", "secured_broker")
    ),
)
# pyenv's python3.X runs only where its version is among those chosen: all that could be wanted are.
PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
if PYENV.is_dir():
    wanted = [path.name for path in PYENV.iterdir() if path.name.rpartition(".")[0] in PYTHONS]
    os.environ.setdefault("PYENV_VERSION", ":".join(sorted(wanted)))


def prepare(session: nox.Session, *groups: str) -> None:
    """Installs the project's dependencies with those of `groups`, and makes the stubs."""
    wanted = nox.project.dependency_groups(PROJECT, "codegen", *groups)
    session.install(*PROJECT["project"]["dependencies"], *wanted)
    session.run("python", "-m", "tools.codegen", silent=True)


@nox.session
def codegen(session: nox.Session) -> None:
    """Make stubs, the descriptor image, the documents, contract/, which implementers take, the dashboard and alerts."""
    prepare(session)
    session.run("python", "-m", "tools.documents")
    session.run("python", "-m", "tools.observability")
    session.run("python", "-m", "tools.bundle")  # once more: it has a copy of the documents


@nox.session
def tests(session: nox.Session) -> None:
    """Run all tests: real processes, a real broker, the contract suite with few examples a law."""
    prepare(session, "tests")
    session.run("pytest", "--quick", *AT_ONCE, *session.posargs, **PATIENTLY)
    if not session.posargs:  # the laws of rights need a system that knows its callers
        session.run("pytest", "tests/contract/laws/security", "--secure", "--quick", *AT_ONCE, **PATIENTLY)


@nox.session(default=False)
def browser(session: nox.Session) -> None:
    """Look at the live page in Chromium, where it is installed, or named by ORDERSYS_TEST_CHROMIUM."""
    if not any(map(shutil.which, (os.environ.get("ORDERSYS_TEST_CHROMIUM", ""), "chromium", "chromium-browser"))):
        session.skip("Chromium is not installed: apt-get install chromium, or name it by ORDERSYS_TEST_CHROMIUM")
    prepare(session, "tests")
    try:
        session.install(*nox.project.dependency_groups(PROJECT, "browser"))
    except CommandFailed:  # as with musl
        session.skip("there is no playwright, which drives Chromium, for this system")
    session.run("pytest", "tests/integration/test_live_browser.py", *session.posargs)
    session.run("pytest", "tests/integration/test_break_it.py", "-k", "click", *session.posargs)


@nox.session
def contract(session: nox.Session) -> None:
    """Judge services by the contract: ours, or those named (`-- --order-service=HOST:PORT`; docs/conformance.md)."""
    prepare(session, "tests")
    session.run("pytest", "tests/contract", "-m", "law", "--tb=no", "-rN", *AT_ONCE, *session.posargs, **PATIENTLY)


@nox.session
def example(session: nox.Session) -> None:
    """Judge the Order Service in Node of examples/ by the contract, where there is Node."""
    if shutil.which("npm") is None:
        session.skip("Node and npm are not installed")
    try:
        session.run("npm", "ci", "--prefix", NODE_EXAMPLE, "--engine-strict", *NPM_OPTIONS, silent=True, external=True)
    except CommandFailed:
        session.skip(f"npm can't install what {NODE_EXAMPLE} needs")
    prepare(session, "tests")
    program = f"order-service=node {NODE_EXAMPLE}/server.js"
    quick = ("--quick", "--tb=no", "-rN", "--program", program, "-k", NOT_OURS)
    session.run("pytest", *ORDER_LAWS, "-m", "law", *quick, *session.posargs, **PATIENTLY)


@nox.session
def mutants(session: nox.Session) -> None:
    """Break our services in one place after the other: a law, or a test, has to notice (`-- NAME`, `-- --alone`)."""
    prepare(session, "tests")
    session.run("python", "-m", "tests.mutants", *session.posargs, **PATIENTLY)


@nox.session
def mutation(session: nox.Session) -> None:
    """Break our services by machine, in thousands of places: the contract suite has to notice (`-- --sample=N`)."""
    prepare(session, "tests")
    session.run("python", "-m", "tests.mutants.machine", *session.posargs, **PATIENTLY)


@nox.session
def faults(session: nox.Session) -> None:
    """Try every fault on the real system (`-- --rounds=N --seed=S`: as many as wanted; docs/reliability.md)."""
    prepare(session, "tests")
    session.run("python", "-m", "tests.integration.faults", *session.posargs, **PATIENTLY)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure everything against baselines of the same run (`-- --quick`, `-- --help`; docs/performance.md)."""
    prepare(session, "bench", "tests", *(["peers"] if "--peers" in session.posargs else []))
    session.run("python", "-m", "benchmarks", *session.posargs, **PATIENTLY)


def _has_postgresql() -> bool:
    """True where a server is installed; its version is for the launcher to judge."""
    return shutil.which("postgres") is not None or any(Path("/usr/lib/postgresql").glob("*/bin/postgres"))


@nox.session
def demo(session: nox.Session) -> None:
    """Start the whole system, walk through its story, reconcile, shut down (`-- --json` for programs).

    `-- --postgres --replicas 2` for two processes of each service on a private PostgreSQL.
    """
    prepare(session)
    if {"--postgres", "--database-url"} & {word.partition("=")[0] for word in session.posargs}:
        session.install(*PROJECT["project"]["optional-dependencies"]["postgresql"])
    if "--postgres" in session.posargs and not _has_postgresql():
        try:
            session.install(*nox.project.dependency_groups(PROJECT, "postgresql-server"))
        except CommandFailed:  # as with musl: the launcher says what to install
            session.warn("there is no PostgreSQL as a package for this system")
    session.run("python", "-m", "ordersys.local", "--demo", *session.posargs, **PATIENTLY)


@nox.session(python=PYTHONS, download_python="never")
def pythons(session: nox.Session) -> None:
    """Run the unit tests and the demo on each Python of pyproject.toml that is installed; no other is downloaded."""
    prepare(session, "tests")
    session.run("pytest", "tests/unit", *AT_ONCE, *session.posargs, **PATIENTLY)
    session.run("python", "-m", "ordersys.local", "--demo", "--json", **PATIENTLY)


@nox.session(venv_backend="uv", reuse_venv=False)
def lowest(session: nox.Session) -> None:
    """Run the unit tests and the installed demo on the lowest versions that pyproject.toml allows."""
    wanted = nox.project.dependency_groups(PROJECT, "codegen", "tests")
    # The wheel too is made anew: uv would take one from its cache as long as pyproject.toml is the same.
    session.install("--resolution=lowest-direct", "--reinstall-package=ordersys", ".", *wanted)
    with session.chdir(session.create_tmp()):
        session.run("python", "-m", "ordersys.local", "--demo", "--json", **PATIENTLY)
    session.run("python", "-m", "tools.codegen", silent=True)
    session.run("pytest", "tests/unit", *AT_ONCE, *session.posargs, **PATIENTLY)


@nox.session
@nox.parametrize("suite", SUITES, ids=SUITES)
def brokers(session: nox.Session, suite: str) -> None:
    """Run the demo and what has to do with a broker on the RabbitMQ of each suite of Debian: 3.10, 4.0, 4.3."""
    prepare(session, "brokers", "tests")
    said = session.run("python", "-m", "tests.rabbitmq", suite, silent=True, success_codes=[0, 1])
    folder = str(said).strip()
    if not Path(folder).is_dir():
        session.skip(folder)
    session.log("%s", *Path(folder).glob("usr/lib/rabbitmq/lib/rabbitmq_server-*"))
    session.env.update({"ORDERSYS_RABBITMQ_DIR": folder, "ORDERSYS_TEST_AMQP_URL": ""})
    session.run("python", "-m", "ordersys.local", "--demo", "--json", **PATIENTLY)
    session.run("pytest", "--quick", *(session.posargs or BROKER_TESTS), **PATIENTLY)


@nox.session
def lint(session: nox.Session) -> None:
    """Hold the code against ruff and the contract against buf."""
    prepare(session, "lint")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("buf", "lint", "ordersys/api/contract.binpb", "--config", "proto/buf.yaml")
    session.run("buf", "build", "contract", "--output", os.devnull)


@nox.session
def compat(session: nox.Session) -> None:
    """Hold the contract against the released one (`-- --release` makes it the released one where it breaks nothing)."""
    prepare(session, "lint")
    session.run("python", "-m", "tools.compat", *session.posargs)


def node_modules(session: nox.Session, *packages: str) -> str:
    """Installs packages of Node, and returns the folder they lie in. Skips the session where that can't be done."""
    if shutil.which("npm") is None:
        session.skip("Node and npm are not installed")
    folder = session.create_tmp()
    try:
        session.run("npm", "install", "--prefix", folder, *NPM_OPTIONS, *packages, silent=True, external=True)
    except CommandFailed:
        session.skip(f"npm can't install {', '.join(packages)}")
    return str(Path(folder, "node_modules").resolve())


@nox.session(python=False)
def asyncapi(session: nox.Session) -> None:
    """Hold the AsyncAPI document against the official parser, where there is Node."""
    modules = node_modules(session, ASYNCAPI_PARSER)
    session.run("node", ".ci/asyncapi.cjs", "docs/asyncapi.yaml", env={"NODE_PATH": modules})


@nox.session(python=False)
def asyncapi_page(session: nox.Session) -> None:
    """Build AsyncAPI's own page of the events, build/asyncapi.html: one file, offline. Where npm has its component."""
    if shutil.which("npm") is None:
        session.skip("Node and npm are not installed")
    folder = session.create_tmp()
    try:
        # Packed and not installed: its script has all it needs inside, and its dependencies are some 100 MB.
        session.run(
            "npm", "pack", ASYNCAPI_PAGE, "--pack-destination", folder, *NPM_OPTIONS, silent=True, external=True
        )
    except CommandFailed:
        session.skip(f"npm can't fetch {ASYNCAPI_PAGE}")
    package = Path(folder, f"asyncapi-react-component-{ASYNCAPI_PAGE.rpartition('@')[2]}.tgz")
    session.run(sys.executable, "-m", "tools.page.asyncapi", str(package), "build/asyncapi.html", external=True)


@nox.session
def parsers(session: nox.Session) -> None:
    """Read contract/ with buf, protobufjs 7 and 8, @grpc/proto-loader and protobuf-es, where there is Node."""
    modules = node_modules(session, *PROTO_PARSERS)
    prepare(session, "tests", "lint")
    session.env["ORDERSYS_NODE_MODULES"] = modules
    session.run("pytest", "tests/parsers", *session.posargs, **PATIENTLY)


@nox.session
def deploy(session: nox.Session) -> None:
    """Hold deploy/ against what reads it: hadolint, yamllint, and the schemas of Compose and Kubernetes, offline."""
    session.install(*nox.project.dependency_groups(PROJECT, "deploy"))
    session.run("hadolint", "deploy/Dockerfile")
    session.run("yamllint", "--strict", "--config-file", "deploy/.yamllint", "deploy")
    session.run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "deploy/compose.yaml")
    overlays = sorted(Path("deploy/kubernetes/overlays").iterdir())
    if shutil.which("kubectl") is None:
        session.skip("kubectl, which renders the overlays, is not installed; all else of deploy/ is right")
    for overlay in overlays:
        manifests = Path(session.create_tmp(), f"{overlay.name}.yaml")
        with manifests.open("w") as output:
            session.run("kubectl", "kustomize", str(overlay), stdout=output, external=True)
        session.run("kubernetes-validate", "--strict", "--version", "1.37", str(manifests))
    prepare(session, "tests")
    tests = [f"tests/unit/test_{name}.py" for name in ("deploy", "deploy_secrets", "make_secrets")]
    session.run("pytest", *tests, *session.posargs)


@nox.session
def types(session: nox.Session) -> None:
    """Check the types, strictly, stubs included."""
    prepare(session, "types", "tests", "bench")
    session.install("nox")
    session.run("mypy", *session.posargs)


@nox.session
def imports(session: nox.Session) -> None:
    """Check who imports whom."""
    prepare(session, "lint")
    session.run("lint-imports")


@nox.session(reuse_venv=False)  # the wheel has to do without what makes the archive
def package(session: nox.Session) -> None:
    """Build what a release consists of, in dist/, and run the wheel's services from a clean environment.

    The source distribution, of it the wheel, and the archive of the contract.
    """
    session.install("build")
    programs = [path.parent.name for path in Path("ordersys").glob("*/__main__.py")]
    dist = Path("dist").resolve()
    shutil.rmtree(dist, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(dist), silent=True)
    (wheel,) = dist.glob("*.whl")
    session.install("--force-reinstall", str(wheel))
    with session.chdir(session.create_tmp()):
        for program in programs:
            session.run("python", "-m", f"ordersys.{program}", "--help", silent=True)
    prepare(session)
    session.run("python", "-m", "tools.bundle", "--archive", str(dist))


@nox.session
def fmt(session: nox.Session) -> None:
    """Format the code."""
    session.install(*nox.project.dependency_groups(PROJECT, "lint"))
    session.run("ruff", "check", "--fix", "--select", "I")
    session.run("ruff", "format")
