"""Which pod may open a connection to which: the rules of networking.k8s.io/v1, evaluated on rendered policies.

Policies only add up: a pod that no policy selects for a direction is open in it, and a selected one admits what some
rule of some policy admits. A connection needs the egress of its source and the ingress of its destination. What
enforces this is the network plugin of a cluster, which no test here runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

Object = dict[str, Any]


@dataclass(frozen=True)
class Pod:
    """Where a pod is and what policies know of it; with `address` alone, a machine outside of the cluster."""

    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    address: str = ""


class Network:
    """The policies of a cluster. Every namespace has the label kubernetes.io/metadata.name, as Kubernetes sets it."""

    def __init__(self, objects: Iterable[Object]) -> None:
        self._policies = [each for each in objects if each["kind"] == "NetworkPolicy"]

    def allows(self, source: Pod, destination: Pod, port: int, protocol: str = "TCP") -> bool:
        """Whether `source` may connect to the container port of `destination`."""
        return self._admits("Egress", source, destination, port, protocol) and self._admits(
            "Ingress", destination, source, port, protocol
        )

    def _admits(self, direction: str, pod: Pod, peer: Pod, port: int, protocol: str) -> bool:
        selecting = [each for each in self._policies if pod.namespace and _selects(each, direction, pod)]
        rules = [(policy, rule) for policy in selecting for rule in policy["spec"].get(direction.lower(), [])]
        return not selecting or any(
            _has_peer(rule.get("from" if direction == "Ingress" else "to"), policy, peer)
            and _has_port(rule.get("ports"), port, protocol)
            for policy, rule in rules
        )


def _selects(policy: Object, direction: str, pod: Pod) -> bool:
    spec = policy["spec"]
    types = spec.get("policyTypes") or ["Ingress", *(["Egress"] if "egress" in spec else [])]
    same = policy["metadata"]["namespace"] == pod.namespace
    return direction in types and same and _matches(spec["podSelector"], pod.labels)


def _has_peer(peers: list[Object] | None, policy: Object, pod: Pod) -> bool:
    """An absent or empty list of peers is everybody."""
    return not peers or any(_is_peer(each, policy["metadata"]["namespace"], pod) for each in peers)


def _is_peer(peer: Object, namespace: str, pod: Pod) -> bool:
    if "ipBlock" in peer:
        address = pod.address and ip_address(pod.address)
        block = peer["ipBlock"]
        inside = [ip_network(cidr) for cidr in (block["cidr"], *block.get("except", []))]
        return bool(address) and address in inside[0] and not any(address in each for each in inside[1:])
    if not pod.namespace:
        return False
    names = {"kubernetes.io/metadata.name": pod.namespace}
    is_namespace = (
        _matches(peer["namespaceSelector"], names) if "namespaceSelector" in peer else pod.namespace == namespace
    )
    return is_namespace and _matches(peer.get("podSelector", {}), pod.labels)


def _has_port(ports: list[Object] | None, port: int, protocol: str) -> bool:
    return not ports or any(
        each.get("protocol", "TCP") == protocol
        and ("port" not in each or each["port"] <= port <= each.get("endPort", each["port"]))
        for each in ports
    )


def _matches(selector: Object, labels: Mapping[str, str]) -> bool:
    """An empty selector selects everything."""
    exact = all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
    return exact and all(_satisfies(each, labels) for each in selector.get("matchExpressions", []))


def _satisfies(expression: Object, labels: Mapping[str, str]) -> bool:
    key, values = expression["key"], expression.get("values", [])
    return {
        "In": labels.get(key) in values,
        "NotIn": labels.get(key) not in values,
        "Exists": key in labels,
        "DoesNotExist": key not in labels,
    }[expression["operator"]]
