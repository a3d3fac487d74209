"""The shape of the house: what imports what. Layers and forbidden imports are contracts in pyproject.toml."""

from __future__ import annotations

import grimp
import networkx


def test_no_module_waits_for_itself() -> None:
    """Imports inside functions count too: a circle is one wherever its imports stand."""
    imports = grimp.build_graph("intarsia", "intarsia_backends", "intarsia_hw", cache_dir=None)
    edges = [(name, found) for name in imports.modules for found in imports.find_modules_directly_imported_by(name)]
    assert len(edges) > 500
    groups = networkx.strongly_connected_components(networkx.DiGraph(edges))
    assert [sorted(group) for group in groups if len(group) > 1] == []
