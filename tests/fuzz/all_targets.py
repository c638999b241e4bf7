"""All targets by name."""

from __future__ import annotations

from fuzz import settings, stored, wire

TARGETS = {target.name: target for target in (*settings.TARGETS, *stored.TARGETS, *wire.TARGETS)}
