"""The dashboard and the alerts ask for what the exporter exports, in queries that Prometheus understands."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from alacena.ops.dashboard import ALERTS, PANELS, grafana, queries, rules
from proving.servers.prometheus import find_program

PROMTOOL = find_program("promtool")
NAMES = re.compile(r"\balacena_[a-z_]+")


def test_every_metric_that_is_asked_for_is_exported():
    prometheus = pytest.importorskip("alacena.integrations.prometheus")
    asked = {name for query in queries() for name in NAMES.findall(query)}
    asked |= set(NAMES.findall(json.dumps(grafana()["templating"])))
    assert asked <= prometheus.list_exported_names()
    assert len(asked) > 15


def test_every_query_is_one():
    parser = pytest.importorskip("promql_parser")
    for query in queries():
        parser.parse(query)


@pytest.mark.skipif(PROMTOOL is None, reason="no promtool is installed: make prometheus")
def test_promtool_takes_the_rules(tmp_path):
    written = tmp_path / "alacena.rules.json"
    written.write_text(json.dumps(rules()))
    checked = subprocess.run(
        [str(PROMTOOL), "check", "rules", str(written)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_panels_and_alerts_say_what_they_are():
    ids = [panel["id"] for panel in grafana()["panels"]]
    assert len(set(ids)) == len(PANELS)
    assert all(alert.summary and alert.action and alert.severity in {"page", "ticket"} for alert in ALERTS)


@pytest.mark.parametrize("what", ["grafana", "rules"])
def test_the_command_prints_json(what):
    said = subprocess.run([sys.executable, "-m", "alacena.ops.dashboard", what], capture_output=True, check=True)
    assert json.loads(said.stdout)
