"""Engage a run's workers, where its devices are several; without, everything is done in this process, as ever."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from iikata.core.errors import IikataError
from iikata.core.io import Appender
from iikata.pipeline.context import RunContext
from iikata.pipeline.elsewhere import arms_from_elsewhere, files_of
from iikata.pipeline.executor import cluster
from iikata.pipeline.executor.messages import Inputs


@contextmanager
def workers(ctx: RunContext) -> Iterator[None]:
    """Give the context a crew for as long as this lasts; one is started only when something is to be computed."""
    where = cluster.address(ctx.experiment, ctx.emit)
    if where is None or _laid_over(ctx, where):
        yield
        return
    from iikata.pipeline.executor.crew import Crew
    from iikata.pipeline.executor.worker import Worker

    def note(line: Mapping[str, Any]) -> None:
        with Appender(ctx.store.devices) as file:
            file.add(line)

    with Crew(where, Worker, lambda: inputs_of(ctx), ctx.experiment.mixed_devices, ctx.emit, note) as ctx.crew:
        try:
            yield
        finally:
            ctx.crew = None


def _laid_over(ctx: RunContext, where: str) -> bool:
    """Return whether the base takes several GPUs of this machine, so that none is left for a worker."""
    if where != "local" and ctx.experiment.model.stages not in ("auto", 1):
        raise IikataError(
            f"{ctx.experiment.at('model', 'stages')}model.stages lays the base over the GPUs of one process, and a "
            "worker of a Ray cluster has one: use devices: auto, or leave model.stages out."
        )
    return where == "local" and len(ctx.devices) > 1


def inputs_of(ctx: RunContext) -> tuple[Inputs, str]:
    """Return what workers are given, and the fingerprint that their model must have."""
    import torch

    brought = arms_from_elsewhere(ctx.experiment)
    files = {name: it for arm in brought for name, it in files_of(ctx.experiment, ctx.store, arm).items()}
    given = (ctx.experiment.without_places(), ctx.templates, ctx.data, ctx.probes, files, torch.get_num_threads())
    return Inputs(*given), ctx.weights
