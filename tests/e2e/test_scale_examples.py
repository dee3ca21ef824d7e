"""The program understands the examples for several machines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from openai_replay.cli.root import main
from openai_replay.server.cluster.redis import RedisPositionStore

FOLDER = Path(__file__).parents[2] / "examples" / "scale"
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text("utf-8"))
KUBERNETES: dict[tuple[str, str], Any] = {
    (entry["kind"], entry["metadata"]["name"]): entry
    for entry in yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text("utf-8"))
}
PODS = {name: KUBERNETES[name]["spec"]["template"] for name in (("Deployment", "player"), ("StatefulSet", "store"))}
PLAYER: dict[str, Any] = PODS["Deployment", "player"]["spec"]["containers"][0]


@pytest.mark.parametrize("arguments", [COMPOSE["services"]["player"]["command"], PLAYER["args"]])
def test_players_are_started_as_help_says(arguments: list[str]) -> None:
    verb, *options = arguments
    command = main.get_command(click.Context(main), verb)
    assert command is not None
    params = command.make_context(verb, list(options)).params
    assert params["workers"] == 2
    assert params["port"] == 8765
    assert RedisPositionStore(params["state"]).run == "load-test"
    assert (params["allow_remote"], params["allow_host"], params["client_key_env"]) == (True, ("*",), "PLAYER_KEY")
    assert params["host"] == "0.0.0.0"


def test_names_and_ports_lead_where_they_should() -> None:
    services = COMPOSE["services"]
    assert set(services) == {"store", "player", "balancer"}
    assert all(dependency in services for service in services.values() for dependency in service.get("depends_on", ()))
    nginx = (FOLDER / "nginx.conf").read_text("utf-8")
    assert "set $players player;" in nginx
    assert "http://$players:8765" in nginx
    assert "proxy_buffering off" in nginx
    assert services["balancer"]["ports"] == ["127.0.0.1:8765:8765"]
    for kind, port in ((("Deployment", "player"), 8765), (("StatefulSet", "store"), 6379)):
        labels = PODS[kind]["metadata"]["labels"]
        service = KUBERNETES["Service", kind[1]]["spec"]
        assert KUBERNETES[kind]["spec"]["selector"]["matchLabels"] == labels == service["selector"]
        assert [service["targetPort"] for service in service["ports"]] == [port]
        assert PODS[kind]["spec"]["containers"][0]["ports"] == [{"containerPort": port}]
    assert PLAYER["readinessProbe"]["tcpSocket"] == {"port": 8765}
    for stored in (services["store"]["command"], PODS["StatefulSet", "store"]["spec"]["containers"][0]["args"]):
        assert stored[1:] == ["--appendonly", "yes", "--maxmemory-policy", "noeviction"]


def test_the_image_has_what_the_options_need() -> None:
    assert "'openai-replay[speed,redis,s3]'" in (FOLDER / "Dockerfile").read_text("utf-8")
