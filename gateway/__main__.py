"""The command `hedgerow`: serve, demo, check, explain, import, schema, simulate, evaluate, calibrate, reliability."""

from __future__ import annotations

import json
import os
import re
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from gateway import config
from gateway.config import ConfigError, durations
from gateway.settings import Settings

app = typer.Typer(
    help="A redundant, OpenAI-compatible LLM gateway.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="A YAML file; without one, the usual key variables are looked for."),
]

Recorded = Annotated[Path, typer.Option(help="Recorded answers: JSON lines, gzipped or not.")]
Targets = Annotated[str, typer.Option(help="The targets to use, by commas; the first has the highest priority.")]


class LogFormat(StrEnum):
    """How log lines look."""

    json = "json"
    console = "console"


@app.command()
def serve(
    config: ConfigFile = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port for clients.", min=1, max=65535)] = 8000,
    metrics_host: Annotated[str, typer.Option(help="The address for Prometheus.")] = "127.0.0.1",
    metrics_port: Annotated[int, typer.Option(help="The port for Prometheus.", min=1, max=65535)] = 9090,
    log_format: Annotated[LogFormat, typer.Option(help="JSON lines, or lines for people.")] = LogFormat.json,
    workers: Annotated[int, typer.Option(help="Processes that serve; with several, one more watches them.", min=1)] = 1,
    drain: Annotated[str, typer.Option(help="What requests in flight get after SIGTERM.")] = "30s",
    drain_delay: Annotated[
        str, typer.Option(help="How long to serve on after SIGTERM while /readyz says 503, for load balancers.")
    ] = "0s",
) -> None:
    """Serve the routes of a configuration, or of what the environment offers."""
    from gateway import serving  # noqa: PLC0415 -- what `check` need not pay

    addresses = serving.Addresses(host, port, metrics_host, metrics_port)
    seconds = _duration(drain, "--drain"), _duration(drain_delay, "--drain-delay")
    options = serving.Options(workers, log_format is LogFormat.console, *seconds)
    try:
        serving.serve(config, os.environ, addresses, options)
    except (serving.CannotServe, ConfigError) as exc:
        _stop(str(exc))


@app.command()
def demo(
    once: Annotated[bool, typer.Option("--once", help="Stop after the table.")] = False,
    port: Annotated[int, typer.Option(help="The port for clients.", min=1, max=65535)] = 8000,
    metrics_port: Annotated[int, typer.Option(help="The port for Prometheus.", min=1, max=65535)] = 9090,
) -> None:
    """Show redundancy at work on three simulated providers; needs no key and no network."""
    from gateway.demo import CannotDemonstrate, demonstrate  # noqa: PLC0415 -- brings the OpenAI client

    try:
        demonstrate(port=port, metrics_port=metrics_port, once=once)
    except CannotDemonstrate as exc:
        _stop(str(exc))


@app.command()
def check(
    file: Annotated[Path | None, typer.Argument(help="The configuration to check.")] = None, config: ConfigFile = None
) -> None:
    """Say every fault of a configuration at once; exit 2 if there is one."""
    file = file or config
    settings, what = _settings(file), file or "the environment"
    routes, providers = len(settings.routes), len(settings.providers)
    for note in settings.notes:
        typer.echo(f"note: {note}")
    typer.echo(
        f"{what}: well formed, {routes} route{'s' * (routes != 1)} over {providers} provider{'s' * (providers != 1)}"
    )
    for operation, route in settings.default_routes.items():
        typer.echo(f"/v1/{operation} without a model asks {route}")
    if settings.passthrough is not None:
        typer.echo(f"what is not served goes unread to {settings.passthrough}")


@app.command()
def explain(
    route: Annotated[str, typer.Argument(help="The route, as clients name it in `model`.")], config: ConfigFile = None
) -> None:
    """Print what a request to a route would do."""
    settings = _settings(config)
    from gateway.engine.plan import describe  # noqa: PLC0415 -- see serve
    from gateway.errors import ModelNotFound  # noqa: PLC0415
    from gateway.policies import description  # noqa: PLC0415

    if route not in settings.routes:
        _stop(str(ModelNotFound(route, settings.routes)))
    typer.echo(describe(settings.routes[route]))
    concurrency = {name: provider.concurrency for name, provider in settings.asked.items()}
    typer.echo(description.describe(settings.routes[route], concurrency))


@app.command("import")
def import_(file: Annotated[Path, typer.Argument(help="The config.yaml of a LiteLLM proxy.")]) -> None:
    """Print the same as a configuration of ours, and on stderr what could not be carried over."""
    from gateway.config.from_litellm import CannotImport, from_litellm  # noqa: PLC0415 -- needed once in a life

    try:
        imported = from_litellm(file.read_text())
    except (CannotImport, OSError, UnicodeDecodeError) as exc:
        _stop(f"{file}: {exc.strerror if isinstance(exc, OSError) else exc}")
    for note in imported.notes:
        typer.echo(note, err=True)
    typer.echo(imported.text, nl=False)


@app.command()
def schema() -> None:
    """Print the JSON Schema of the configuration, for editors."""
    typer.echo(json.dumps(config.json_schema(), indent=2))


@app.command()
def simulate(
    script: Annotated[Path | None, typer.Option(help="A YAML or JSON file: model name to behaviour.")] = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port; 0 takes any free one.", min=0, max=65535)] = 8100,
    seed: Annotated[int, typer.Option(help="Runs with the same seed behave the same.")] = 0,
) -> None:
    """Run a provider that follows a script: latencies, wrong answers and faults on demand."""
    from gateway.providers import simulator  # noqa: PLC0415 -- a server of its own

    simulator.run(script=script, host=host, port=port, seed=seed)


@app.command()
def gameday(
    config: ConfigFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print verdicts for programs.")] = False,
) -> None:
    """Play sixteen faults on your own routes, a simulator in each provider's place; exit 1 if one is handled badly.

    It takes about as long as the time limits of the routes.
    """
    from gateway import gameday as day  # noqa: PLC0415 -- brings the simulator

    try:
        played = day.run(_settings(config))
    except day.CannotPlay as exc:
        _stop(str(exc))
    typer.echo(json.dumps(day.document(played), indent=2) if as_json else "\n".join(day.lines(played)))
    if any(each.verdict == "fail" for each in played.judged):
        raise typer.Exit(1)


@app.command()
def evaluate(
    data: Recorded,
    targets: Targets,
    select: Annotated[str, typer.Option(help="As in a route: majority, or {majority: {key: number}}.")] = "majority",
    as_json: Annotated[bool, typer.Option("--json", help="Print figures for programs.")] = False,
) -> None:
    """Replay recorded answers through a selector: accuracy, agreement, calls saved, latencies."""
    from gateway import evaluation  # noqa: PLC0415 -- nothing that serves needs it

    try:
        figures = evaluation.evaluate(data, _named(targets), select)
    except evaluation.CannotEvaluate as exc:
        _stop(str(exc))
    typer.echo(json.dumps(figures.document(), indent=2) if as_json else "\n".join(figures.lines()))


@app.command()
def calibrate(
    data: Recorded,
    targets: Targets,
    out: Annotated[Path, typer.Option(help="The file to write, YAML or .json.")],
) -> None:
    """Fit selectors to labelled answers, cross-validate them, recommend one that beats the best single target."""
    from gateway import evaluation  # noqa: PLC0415 -- nothing that serves needs it

    try:
        fitted = evaluation.calibrate(data, _named(targets))
        evaluation.write(fitted, out)
    except evaluation.CannotEvaluate as exc:
        _stop(str(exc))
    typer.echo("\n".join([*fitted.lines(), f"Written: {out}"]))


@app.command()
def reliability(
    route: Annotated[str, typer.Argument(help="A route with `reliability: learn`.")],
    metrics: Annotated[str, typer.Option(help="Where the gateway's metrics are.")] = "http://127.0.0.1:9090",
    out: Annotated[Path | None, typer.Option(help="The calibration to write, YAML or .json.")] = None,
) -> None:
    """Say how often each target of a running route is right, as its votes tell; write that as a calibration."""
    from gateway.evaluation import CannotEvaluate, learned  # noqa: PLC0415 -- see evaluate

    try:
        known = learned.of(route, metrics)
        if out is not None:
            learned.write(route, known, out)
    except CannotEvaluate as exc:
        _stop(str(exc))
    for target, estimate in known.targets.items():
        typer.echo(f"{estimate.reliability:6.1%} right  {estimate.seen:8.1f} votes  {target}")


def _named(targets: str) -> list[str]:
    return [target.strip() for target in targets.split(",") if target.strip()]


def _duration(text: str, option: str) -> float:
    if text == "0s":
        return 0.0
    if not re.fullmatch(durations.PATTERN, text):
        _stop(f'{option} is {text!r}, expected a duration such as "30s".')
    return durations.seconds(text)


def _settings(file: Path | None) -> Settings:
    try:
        return config.discover(os.environ) if file is None else config.load(file, os.environ)
    except ConfigError as exc:
        _stop(str(exc))


def _stop(reason: str) -> NoReturn:
    typer.echo(reason, err=True)
    raise typer.Exit(2)


def main() -> None:
    """Run the command."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
