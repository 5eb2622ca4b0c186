# SPDX-License-Identifier: Apache-2.0
"""A paper's table, run and written beside the paper's values: Markdown, CSV and JSON."""

import time
from collections.abc import Mapping

from m3net_tf.lab.many.plan import Outcome
from m3net_tf.lab.many.scheduling import run_trainings
from m3net_tf.lab.studies.report_files import write_report
from m3net_tf.lab.studies.table_plan import TablePlan
from m3net_tf.lab.studies.table_record import TableReport
from m3net_tf.lab.studies.table_results import table_report
from m3net_tf.lab.studies.table_views import cells_in_words, table_csv, table_markdown
from m3net_tf.system.progress import Log, silent
from m3net_tf.training.cluster.data import DataFolders, require_data
from m3net_tf.training.cluster.pools import IN_PROCESS, PoolOptions


def make_table(
    plan: TablePlan,
    data_folders: DataFolders,
    options: PoolOptions = IN_PROCESS,
    *,
    train: bool = True,
    command: str = "",
    log: Log = silent,
) -> TableReport:
    """Train the missing runs of a table and write the table.

    If a run fails that has a result in the written table, that table is left unchanged and the new
    one is written to ``<paper>/<table>.<scale>.incomplete.*`` in the same folder.

    Args:
        train: False writes the table of the runs that are finished.

    Returns:
        Content of the JSON; ``failed`` counts the runs and measurements that failed.

    Raises:
        DataError: a data set of a run that must be trained is missing, or Ray is needed and not
            installed or reached.
    """
    start_s = time.perf_counter()
    grid = plan.grid
    title = f"{grid.name} at {grid.scale} scale"
    log(f"{title}: {len(grid.cells)} cells, {len(plan.trainings)} runs in them")
    outcomes: Mapping[str, Outcome]
    if train:
        require_data((run.recipe for run in plan.runs.waiting), data_folders, title)
        outcomes = run_trainings(
            plan.runs, plan.runs_folder, data_folders, options=options, log=log
        )
    else:
        outcomes = {key: Outcome(folder) for key, folder in plan.runs.finished.items()}
    report = table_report(plan, outcomes, command, start_s, log)
    markdown = table_markdown(report, grid.path, plan.stem)
    write_report(plan.stem, report, table_csv(report), markdown, log)
    log(f"cells: {cells_in_words(report)}")
    return report
