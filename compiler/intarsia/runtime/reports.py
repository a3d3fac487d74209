"""Reports of an artifact with the figures of this machine's devices. NumPy and the standard library only."""

from __future__ import annotations

from dataclasses import replace

from intarsia.artifact.report import Report
from intarsia.errors import RunError
from intarsia.runtime.counters import layers_of
from intarsia.runtime.session import Session
from intarsia.runtime.vectors import read_vectors


def modelled_report(session: Session) -> Report:
    """Every layer with what the devices say of any run, without one: an overlay's engines by their cycle model."""
    return replace(session.artifact.report(layers_of(session.expected), source="model"), notes=session.notes)


def measured_report(session: Session) -> Report:
    """Every layer with what the devices count in a run of the first test vector.

    Where a device counts cycles of hardware, those of its model stand beside them. Raises RunError for an artifact
    without test vectors.
    """
    vectors = read_vectors(session.artifact)
    if not vectors:
        raise RunError(
            where=f"artifact '{session.artifact.contents.model_name}'",
            what="it has no test vectors to run",
            help="run it on inputs of your own: Session.execute gives counters",
        )
    layers = layers_of(session.execute(vectors[0][0]).counters)
    if not session.measures:
        return replace(session.artifact.report(layers), notes=session.notes)
    modelled = {name: {row["name"]: row for row in rows} for name, rows in layers_of(session.expected).items()}
    compared = {
        name: [{**row, "modelled_cycles": modelled.get(name, {}).get(row["name"], {}).get("cycles")} for row in rows]
        for name, rows in layers.items()
    }
    return replace(session.artifact.report(compared, source="both"), notes=session.notes)
