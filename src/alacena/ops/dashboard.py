"""A Grafana dashboard and Prometheus alert rules for the exporters' metrics, made from typed code.

::

    python -m alacena.ops.dashboard grafana > alacena.json
    python -m alacena.ops.dashboard rules > alacena.rules.json
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any, Final

_PICK: Final = 'namespace=~"$namespace"'
_TYPED: Final = f'{_PICK},data_type=~"$type"'
_RATE: Final = "$__rate_interval"


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart.

    Attributes:
        title: The panel's title.
        words: How to read it.
        queries: The queries, each with the text of its legend.
        unit: The unit, as Grafana names it.
        stacked: Whether the series add up to something.
    """

    title: str
    words: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    stacked: bool = False


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert.

    Attributes:
        name: Its name.
        query: True of a fault.
        lasts: For how long it must be.
        severity: ``"page"``: at once; ``"ticket"``: in the morning.
        summary: The fault in a sentence.
        action: The remedy in a sentence.
    """

    name: str
    query: str
    lasts: str
    severity: str
    summary: str
    action: str


def _rate(metric: str, labels: str, by: str) -> str:
    return f"sum by ({by}) (rate({metric}{{{labels}}}[{_RATE}]))"


def _quantile(part: float) -> str:
    buckets = f"rate(alacena_operation_duration_seconds_bucket{{{_PICK}}}[{_RATE}])"
    # ``le`` stays in the sum, because the quantile is read from it.
    return f"histogram_quantile({part}, sum by (le, operation) ({buckets}))"


PANELS: Final = (
    Panel("Reads by where they were answered", "load and waited are what the source was asked for.",
          ((_rate("alacena_reads_total", _TYPED, "answer"), "{{answer}}"),), "reqps", stacked=True),
    Panel("Misses by why", "absent: never stored, as far as the process knows; evicted: memory is too small.",
          ((_rate("alacena_misses_total", _TYPED, "reason"), "{{reason}}"),), "reqps", stacked=True),
    Panel("Loads and failures by type", "What the source does for the cache.",
          ((_rate("alacena_loads_total", _TYPED, "data_type"), "{{data_type}}"),
           (_rate("alacena_load_failures_total", _TYPED, "data_type"), "{{data_type}} failed")), "ops"),
    Panel("Mean time of a load by type", "",
          (((f"{_rate('alacena_load_time_seconds_total', _TYPED, 'data_type')} / "
            f"{_rate('alacena_loads_total', _TYPED, 'data_type')}"), "{{data_type}}"),), "s"),
    Panel("What is slower than memory: 99 %", "", ((_quantile(0.99), "{{operation}}"),), "s"),
    Panel("What is slower than memory: the middle", "", ((_quantile(0.5), "{{operation}}"),), "s"),
    Panel("Bytes in memory by type", "",
          ((f"sum by (data_type) (alacena_memory_usage_bytes{{{_TYPED}}})", "{{data_type}}"),
           (f"sum(alacena_memory_limit_bytes{{{_PICK}}})", "limit")), "bytes"),
    Panel("What leaves memory", "", ((_rate("alacena_memory_removals_total", _TYPED, "reason"), "{{reason}}"),), "ops"),
    Panel("Values that were not stored", "Only value asks for a change in your code; the rest is the protocol at work.",
          ((_rate("alacena_refusals_total", _TYPED, "reason"), "{{reason}}"),), "ops"),
    Panel("Server", "Failures are cache verbs that went on without it.",
          ((f"min(alacena_server_connected{{{_PICK}}})", "connected"),
           (f"min(alacena_memory_serving{{{_PICK}}})", "memory serves"),
           (f"sum(rate(alacena_server_failures_total{{{_PICK}}}[{_RATE}]))", "failures a second"))),
    Panel("Tokens", "", ((_rate("alacena_tokens_total", _PICK, "kind"), "{{kind}}"),), "short"),
    Panel("Money", "In the currency that the application records.",
          ((_rate("alacena_cost_total", _PICK, "kind"), "{{kind}}"),), "short"),
)  # fmt: skip
"""The charts of the dashboard, in their order."""

ALERTS: Final = (
    Alert("AlacenaServerLost", "min by (namespace) (alacena_server_connected) == 0", "2m", "page",
          "A process of {{ $labels.namespace }} has no server: every read that memory does not answer asks the source.",
          "alacena doctor; is the server up, and reachable from there?"),
    Alert("AlacenaMemoryOff", "min by (namespace) (alacena_memory_serving) == 0", "10m", "ticket",
          "Memory does not serve in a process of {{ $labels.namespace }}: every read asks the server.",
          "alacena guarantee says why; mostly a right is missing (CLIENT TRACKING, INFO)."),
    # ``loads`` counts those that came back: the share is that of both together.
    Alert("AlacenaLoadsFail",
          "sum by (namespace, data_type) (rate(alacena_load_failures_total[5m])) > "
          "0.1 * sum by (namespace, data_type) (rate(alacena_loads_total[5m]) + rate(alacena_load_failures_total[5m]))",
          "5m", "page", "More than a tenth of the loads of {{ $labels.data_type }} fail.",
          "Look at the source; expired entries are served meanwhile if the policy allows it."),
    # ``> 0`` leaves out namespaces that store nothing: any removal would be more than half of that.
    Alert("AlacenaEvictsMuch",
          'sum by (namespace) (rate(alacena_memory_removals_total{reason="evicted"}[10m])) > '
          "0.5 * sum by (namespace) (rate(alacena_fills_total[10m]) > 0)", "30m", "ticket",
          "Half of what is stored in {{ $labels.namespace }} makes something else leave memory.",
          "Raise memory_max_bytes, or shorten what lives long: alacena top --by bytes."),
    Alert("AlacenaSlowServer",
          "histogram_quantile(0.99, sum by (namespace, le) "
          '(rate(alacena_operation_duration_seconds_bucket{operation="redis_read"}[5m]))) > 0.02', "10m", "ticket",
          "One read in a hundred waits more than 20 ms for the server.",
          "alacena doctor (latency); SLOWLOG GET; is the event loop busy?"),
    Alert("AlacenaEntriesRejected", "sum by (namespace) (increase(alacena_rejected_entries_total[15m])) > 0", "0m",
          "ticket", "Entries of the server cannot be read: another writer, another key, or another version.",
          "The event EntryRejected says why; do all services have the same integrity key and version?"),
    Alert("AlacenaBackgroundFault", "max by (namespace) (alacena_faults) > 0", "15m", "ticket",
          "A part that works in the background has a fault.", "alacena fleet names it."),
)  # fmt: skip
"""The alerts."""


def grafana() -> dict[str, Any]:
    """Returns the dashboard, as Grafana imports it."""
    panels = [_panel(number, panel) for number, panel in enumerate(PANELS)]
    variables = [
        {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Source"},
        _variable("namespace", "label_values(alacena_uptime_seconds, namespace)"),
        _variable("type", 'label_values(alacena_reads_total{namespace=~"$namespace"}, data_type)'),
    ]
    return {
        "uid": "alacena",
        "title": "Alacena",
        "tags": ["alacena", "cache"],
        "timezone": "browser",
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": variables},
        "panels": panels,
    }


def rules() -> dict[str, Any]:
    """Returns the alert rules, as Prometheus reads them: JSON is YAML."""
    listed = [
        {
            "alert": alert.name,
            "expr": alert.query,
            "for": alert.lasts,
            "labels": {"severity": alert.severity},
            "annotations": {"summary": alert.summary, "action": alert.action},
        }
        for alert in ALERTS
    ]
    return {"groups": [{"name": "alacena", "rules": listed}]}


def queries() -> list[str]:
    """Returns every query of both, with the dashboard's variables put in."""
    asked = [query for panel in PANELS for query, _ in panel.queries] + [alert.query for alert in ALERTS]
    return [q.replace(_RATE, "5m").replace("$namespace", ".*").replace("$type", ".*") for q in asked]


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${datasource}"}
    custom = {"fillOpacity": 30 if panel.stacked else 0, "stacking": {"mode": "normal" if panel.stacked else "none"}}
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.words,
        "datasource": source,
        "gridPos": {"x": 12 * (number % 2), "y": 8 * (number // 2), "w": 12, "h": 8},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, "custom": custom}, "overrides": []},
        "targets": [
            {"refId": chr(65 + at), "expr": query, "legendFormat": legend, "datasource": source}
            for at, (query, legend) in enumerate(panel.queries)
        ],
    }


def _variable(name: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": "query",
        "query": {"query": query, "refId": name},
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "multi": True,
        "includeAll": True,
        # A list of all names would leave out series that lack the label.
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
        "refresh": 2,
    }


def main(words: list[str]) -> None:
    """Prints the dashboard or the rules."""
    made = {"grafana": grafana, "rules": rules}
    if len(words) != 1 or words[0] not in made:
        sys.exit("usage: python -m alacena.ops.dashboard {grafana,rules}")
    sys.stdout.write(json.dumps(made[words[0]](), indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
