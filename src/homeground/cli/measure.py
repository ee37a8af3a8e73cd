"""What `homeground eval search` does and prints."""

from __future__ import annotations

from homeground.cli.verb import Common


def evaluate_search(common: Common) -> None:
    """Measure every stage of the workspace's search on queries from the indexed corpus."""
    recipe = common.load_recipe()
    workspace = common.workspace(create=False)

    from homeground.pipeline import search_eval

    run = workspace.run(recipe.run or search_eval.RUN)
    if common.dry_run:
        words = (
            f"would ask {workspace.index} up to {recipe.eval.tasks} queries of each kind, into {run.path / 'search'}"
        )
        common.show({"run": run.name, "plan": words}, words)
        return
    with common.progress() as progress:
        result, rows = search_eval.evaluate_search(recipe, workspace, run, progress)

    from rich.table import Table

    table = Table(*rows[0], title="search, mean [95% interval]", title_justify="left")
    for row in rows[1:]:
        table.add_row(*row, end_section=row[2] == search_eval.SEARCH)
    missing = [f"no {kind} queries: {why}" for kind, why in result["metrics"]["missing"].items()]
    common.show(result, table, *missing, f"plot: {result['plot']}", "try: homeground tune")
