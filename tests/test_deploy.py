"""What `deploy/` says of the server, its options and its limits is so."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import stat
import subprocess
from importlib.metadata import metadata, version
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from t9k.em.cli.server import server
from t9k.em.server.accounts.database_url import parse
from t9k.em.server.http.middleware import DOCUMENT_BYTES, MAX_TARGET_BYTES
from t9k.em.server.serving import DRAIN_S, KEEP_ALIVE_S
from t9k.em.server.settings import DEFAULT_BODY_BYTES

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
PREFIX = "/t9k/aistore/server"
UNITS = {"k": 1 << 10, "m": 1 << 20}


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def text(name):
    return (DEPLOY / name).read_text()


def check(arguments):
    """Gives the options that arguments of `em server` set, if it takes them; nothing is run."""
    if not arguments[0].startswith("-"):
        command = server.commands[arguments[0]]
        with command.make_context(arguments[0], arguments[1:]) as context:
            return context.params
    with server.make_context("em server", list(arguments)) as context:
        return context.params


def found(pattern, where):
    """The first group of what a pattern finds."""
    match = re.search(pattern, where)
    assert match is not None, pattern
    return match[1]


def unit():
    lines = [line for line in text("em-server.service").splitlines() if re.match(r"\w+=", line)]
    return [tuple(line.split("=", 1)) for line in lines]


def directives(name, directive):
    """The values of a directive of nginx."""
    return re.findall(rf"(?m)^\s*{directive}\s+([^;]+);", text(name))


def test_the_image_starts_the_server_with_options_that_it_has():
    said = dict(re.findall(r"(?m)^(ENTRYPOINT|CMD) (\[.*\])$", text("Dockerfile")))
    assert json.loads(said["ENTRYPOINT"]) == ["em", "server"]
    assert check(json.loads(said["CMD"]))["host"] == "0.0.0.0"


def test_the_image_installs_extras_that_there_are_and_copies_files_that_there_are():
    extras = found(r"t9k_em-\*\.whl\)\[([a-z0-9,]+)\]", text("Dockerfile")).split(",")
    assert set(extras) <= set(metadata("t9k-em").get_all("Provides-Extra") or ())
    assert {"server", "postgresql"} <= set(extras)
    copied = [name for line in re.findall(r"(?m)^COPY (?!--)(.+)$", text("Dockerfile")) for name in line.split()[:-1]]
    allowed = [line[1:] for line in text("Dockerfile.dockerignore").splitlines() if line.startswith("!")]
    assert sorted(copied) == sorted(allowed)
    assert all((ROOT / name).exists() for name in copied)


def test_the_image_runs_as_a_user_of_its_own_and_holds_no_secret():
    assert re.search(r"(?m)^USER [1-9]\d*:[1-9]\d*$", text("Dockerfile"))
    assert not re.search(r"(?i)password|secret|access_key", text("Dockerfile"))


def test_services_run_the_server_with_options_that_it_has(compose):
    commands = {name: each["command"] for name, each in compose["services"].items() if name in ("server", "migrate")}
    assert check(commands["migrate"]) == {}
    serving = check(commands["server"])
    assert (serving["root_path"], serving["host"], serving["direct"]) == (PREFIX, "0.0.0.0", False)


def test_images_have_versions(compose):
    images = [each["image"] for each in compose["services"].values()]
    bases = re.findall(r"(?m)^FROM (\S+)", text("Dockerfile"))
    for image in [*images, *bases]:
        assert re.search(r":\d+\.\d+", image), image
    assert compose["services"]["server"]["image"] == f"em-server:{version('t9k-em')}"
    assert f"em-server:{version('t9k-em')} " in text("Dockerfile")


def test_the_bucket_that_is_made_is_the_one_that_is_served(compose):
    root = urlsplit(compose["services"]["server"]["environment"]["EM_SERVER_ROOT"])
    _, _, name, endpoint = compose["services"]["bucket"]["entrypoint"]
    assert (name, [endpoint]) == (root.netloc, parse_qs(root.query)["endpoint"])
    assert re.fullmatch(r"[a-z0-9-]{3,63}", name)


def test_what_services_mount_and_wait_for_is_there(compose):
    for each in compose["services"].values():
        for volume in each.get("volumes", ()):
            source = volume.split(":")[0]
            assert (DEPLOY / source).exists() if source.startswith(".") else source in compose["volumes"], volume
        assert set(each.get("depends_on", ())) <= set(compose["services"])
        assert set(each.get("secrets", ())) <= set(compose["secrets"])
        waited = [name for name, how in each.get("depends_on", {}).items() if how["condition"] == "service_healthy"]
        for name in waited:
            assert "healthcheck" in compose["services"][name] or name == "server", name


def test_environment_variables_of_the_server_are_those_that_it_reads(compose, tmp_path):
    known = {parameter.envvar for parameter in server.params if parameter.envvar}
    made = [line.split("=")[0] for line in secrets(tmp_path)["server.env"].splitlines()]
    said = [*compose["services"]["server"]["environment"], *made]
    said += re.findall(r"EM_SERVER_\w+", text("em-server.service"))
    used = {name for name in said if name.startswith("EM_")}
    assert used == known


def secrets(directory):
    """What `make-secrets` writes."""
    shutil.copy(DEPLOY / "make-secrets", directory)
    subprocess.run([directory / "make-secrets"], check=True, capture_output=True)
    return {path.name: path.read_text() for path in (directory / "secrets").iterdir()}


def test_made_secrets_fit_each_other_and_are_nobody_elses(compose, tmp_path):
    made = secrets(tmp_path)
    environment = dict(line.split("=", 1) for line in made["server.env"].splitlines())
    credentials = json.loads(made["s3.json"])["identities"][0]["credentials"][0]
    assert environment["AWS_ACCESS_KEY_ID"] == credentials["accessKey"]
    assert environment["AWS_SECRET_ACCESS_KEY"] == credentials["secretKey"]
    url = parse(environment["EM_SERVER_DATABASE"]).url
    assert url is not None
    assert url.password == made["postgres-password"]
    assert len(made["postgres-password"]) == 48
    postgres = compose["services"]["postgres"]["environment"]
    assert (url.username, url.database) == (postgres["POSTGRES_USER"], postgres["POSTGRES_DB"])
    assert url.host in compose["services"]
    directory = tmp_path / "secrets"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((directory / "server.env").stat().st_mode) == 0o600
    named = {Path(each["file"]).name for each in compose["secrets"].values()}
    assert named | {Path(compose["services"]["server"]["env_file"]).name} == set(made)


def test_secrets_that_are_there_stay(tmp_path):
    made = secrets(tmp_path)
    again = subprocess.run([tmp_path / "make-secrets"], capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert "made already" in again.stderr
    assert {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()} == made


def test_secrets_are_never_committed():
    assert "/deploy/secrets/" in (ROOT / ".gitignore").read_text().splitlines()


def test_the_unit_starts_the_server_with_options_that_it_has():
    commands = {name: shlex.split(value) for name, value in unit() if name.startswith("ExecStart")}
    assert commands["ExecStart"][1] == commands["ExecStartPre"][1] == "server"
    assert check(commands["ExecStart"][2:])["root_path"] == PREFIX
    check(commands["ExecStartPre"][2:])


def test_the_unit_gives_requests_time_to_end_and_writes_to_its_own_directories_only():
    said = dict(unit())
    assert int(said["TimeoutStopSec"]) > DRAIN_S
    assert (said["ProtectSystem"], said["NoNewPrivileges"], said["CapabilityBoundingSet"]) == ("strict", "yes", "")
    metrics = said["Environment"].removeprefix("PROMETHEUS_MULTIPROC_DIR=/run/")
    assert metrics in said["RuntimeDirectory"].split()
    assert said["WorkingDirectory"] == f"/var/lib/{said['StateDirectory']}"


def test_compose_gives_requests_time_to_end(compose):
    assert int(compose["services"]["server"]["stop_grace_period"].removesuffix("s")) > DRAIN_S


def test_nginx_lets_through_what_the_server_takes():
    size = directives("nginx-locations.conf", "client_max_body_size")[0]
    assert int(size[:-1]) * UNITS[size[-1]] >= max(DOCUMENT_BYTES, DEFAULT_BODY_BYTES)
    header = directives("nginx-locations.conf", "large_client_header_buffers")[0].split()[1]
    assert int(header[:-1]) * UNITS[header[-1]] > MAX_TARGET_BYTES
    assert f"location {PREFIX}/ {{" in text("nginx-locations.conf")
    assert f"location = {PREFIX}/metrics {{" in text("nginx-locations.conf")
    assert directives("nginx-locations.conf", "merge_slashes") == ["off"]
    assert directives("nginx-locations.conf", "proxy_request_buffering") == ["off"]


@pytest.mark.parametrize("name", ["nginx.conf", "nginx-compose.conf"])
def test_nginx_keeps_connections_for_less_time_than_the_server_and_logs_no_query(name):
    kept = found(r"(?s)upstream em_server \{.*?keepalive_timeout (\d+)s;", text(name))
    assert int(kept) < KEEP_ALIVE_S
    log = found(r"(?s)log_format em (.*?);", text(name))
    assert "$uri" in log
    assert not re.search(r"\$(request|request_uri|args|query_string|http_\w+|is_args|arg_\w+)\b", log)
    assert [level.split()[-1] for level in directives(name, "error_log")] == ["crit"]
    assert "include nginx-locations.conf;" in text(name)
