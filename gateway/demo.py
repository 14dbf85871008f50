"""`hedgerow demo`: three simulated providers with three different faults, four routes over them, a dozen requests.

Everything is real but the models: the providers are HTTP servers on loopback, the gateway is `hedgerow serve` on a
configuration file, and the requests go through the `openai` client.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import yaml
from rich import box
from rich.console import Console
from rich.table import Table

from gateway.serving.listening import CannotServe, listen

QUESTIONS = {"17 * 23": "391", "144 / 12": "12", "days in a leap year": "366"}
SEED = 2
PATIENCE = 30.0
"""Seconds that a child process may take to start."""

_RIGHT = {question.replace("*", r"\*"): answer for question, answer in QUESTIONS.items()}
PROVIDERS: dict[str, tuple[str, dict[str, Any]]] = {
    "alpha": ("fails 30 % of its calls", {"answers": _RIGHT, "latency": "0.04..0.24", "status": 503, "rate": 0.3}),
    "bravo": ("has a heavy latency tail", {"answers": _RIGHT, "latency": "tail:0.12:0.3:1.8"}),
    "charlie": (
        "is quick, and sometimes wrong",
        {"answers": _RIGHT, "latency": "0.05..0.1", "wrong": 0.45, "wrong_answers": ["42"], "wrong_confidence": 0.55},
    ),
}
ROUTES: dict[str, dict[str, Any]] = {
    "race": {"targets": ["alpha/m", "bravo/m"], "launch": "all", "select": "first", "retries": 1},
    "hedge": {
        "targets": ["bravo/m", "alpha/m"],
        "launch": {"initial": 1, "stagger": "300ms"},
        "select": "first",
        "retries": 1,
    },
    "majority": {"targets": ["charlie/m", "alpha/m", "bravo/m"], "select": {"majority": {"key": "number"}}},
    "max_confidence": {"targets": ["charlie/m", "alpha/m"], "select": "max_confidence"},
}


class CannotDemonstrate(Exception):
    """The demo cannot run; the message says why and what cures it."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One request: the answer (None: an error), how long it took in seconds, and what the gateway explained."""

    route: str
    question: str
    answer: str | None
    seconds: float
    told: dict[str, Any]

    @property
    def right(self) -> bool:
        """Whether the answer is the right one."""
        return self.answer == QUESTIONS[self.question]


def demonstrate(*, port: int, metrics_port: int, once: bool) -> None:
    """Run the demo; without `once` keep serving until Ctrl-C.

    Raises:
        CannotDemonstrate: a port is taken, or a process did not start.
    """
    for number, option in ((port, "--port"), (metrics_port, "--metrics-port")):
        _must_be_free(number, option)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # else the children would outlive us
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 150)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hedgerow-demo-")))
        console.print("[dim]· starting three simulated providers and the gateway[/]")
        children = {name: stack.enter_context(_provider(folder, name)) for name in PROVIDERS}
        providers = {name: _base_url(child, folder / f"{name}.log") for name, child in children.items()}
        stack.enter_context(_gateway(folder, providers, port, metrics_port))
        base_url = f"http://127.0.0.1:{port}/v1"
        for name, (habit, _) in PROVIDERS.items():
            console.print(f"  {name:<8} {providers[name]}  {habit}")
        console.print(f"  {'gateway':<8} {base_url}\n")

        with openai.OpenAI(base_url=base_url, api_key="none", max_retries=0) as client:
            client.models.list()  # so that the first row does not pay for the client's first connection
            shown = [_ask(client, route, question) for route in ROUTES for question in QUESTIONS]
        console.print(_table(shown))
        console.print("[dim]· asking each route's first target the same questions, alone[/]")
        alone = [_ask_alone(providers, route, question) for route in ROUTES for question in QUESTIONS]
        console.print(_comparison(shown, alone))
        _print_usage(console, base_url, metrics_port)
        if not once:
            console.print("[dim]· serving until Ctrl-C[/]")
            try:
                while True:
                    time.sleep(3600)
            except KeyboardInterrupt:
                console.print("[dim]· stopping[/]")


def _must_be_free(port: int, option: str) -> None:
    """Say at once what the gateway would say once its providers run."""
    try:
        listen("127.0.0.1", port, option).close()
    except CannotServe as exc:
        raise CannotDemonstrate(str(exc)) from exc


def _ask(client: openai.OpenAI, route: str, question: str) -> Shown:
    started = time.perf_counter()
    try:
        completion = client.chat.completions.create(
            model=route,
            messages=[{"role": "user", "content": f"{question}? Answer with a number."}],
            extra_body={"hedgerow": {"explain": True}},
        )
    except openai.APIStatusError as exc:
        branches = exc.body["hedgerow"]["branches"] if isinstance(exc.body, dict) else []
        return Shown(route, question, None, time.perf_counter() - started, {"failures": branches})
    told = (completion.model_extra or {})["hedgerow"]
    return Shown(route, question, completion.choices[0].message.content, time.perf_counter() - started, told)


def _ask_alone(providers: dict[str, str], route: str, question: str) -> Shown:
    name, _, model = ROUTES[route]["targets"][0].partition("/")
    answer = None
    with openai.OpenAI(base_url=providers[name], api_key="none", max_retries=0) as client:
        started = time.perf_counter()
        try:
            completion = client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": f"{question}? Answer with a number."}]
            )
            answer = completion.choices[0].message.content
        except openai.APIStatusError:
            pass  # the answer stays None: the target alone failed
        return Shown(route, question, answer, time.perf_counter() - started, {})


def _titled(title: str) -> Table:
    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))


def _table(shown: list[Shown]) -> Table:
    table = _titled("A dozen requests (each branch with its milliseconds)")
    for column in ("route", "question", "answered", "failed", "superseded"):
        table.add_column(column, overflow="fold")
    table.add_column("ms", justify="right")
    for column in ("answer", "won, and why", "the first alone"):
        table.add_column(column, overflow="fold")
    for row in shown:
        told = row.told
        table.add_row(
            row.route,
            row.question,
            _names(told.get("candidates", [])),
            f"[red]{_names(told.get('failures', []))}[/]",
            f"[dim]{_names(told.get('superseded', []))}[/]",
            f"{row.seconds * 1000:.0f}",
            f"[green]{row.answer} ✓[/]" if row.right else f"[red]{row.answer} ✗[/]",
            f"{_short(told['winner'])}: {told['reason'].partition('; what')[0]}" if "winner" in told else "nobody",
            _first_alone(row),
            end_section=row.question == list(QUESTIONS)[-1],
        )
    return table


def _names(branches: list[dict[str, Any]]) -> str:
    return ", ".join(f"{_short(branch['target'])} {branch['ms']:.0f}" for branch in branches) or "-"


def _short(target: str) -> str:
    return target.partition("/")[0]


def _first_alone(row: Shown) -> str:
    """Say what this very request's first target did."""
    first = ROUTES[row.route]["targets"][0]
    for branch in row.told.get("failures", []):
        if branch["target"] == first:
            return f"[red]failed ({branch['kind']})[/]"
    for branch in row.told.get("superseded", []):
        if branch["target"] == first:
            return f"[yellow]silent after {branch['ms']:.0f} ms[/]"
    for branch in row.told.get("candidates", []):
        if branch["target"] == first:
            if branch["text"] == QUESTIONS[row.question]:
                return f"right, {branch['ms']:.0f} ms"
            return f"[red]wrong: {branch['text']}[/]"
    return "-"


def _comparison(shown: list[Shown], alone: list[Shown]) -> Table:
    table = _titled("What redundancy saved")
    table.add_column("route")
    for side in ("with the route", "its first target alone"):
        table.add_column(side)
    for route in ROUTES:
        table.add_row(route, *(_summary([row for row in rows if row.route == route]) for rows in (shown, alone)))
    table.add_section()
    table.add_row("all", _summary(shown), _summary(alone))
    return table


def _summary(rows: list[Shown]) -> str:
    answered, right = sum(row.answer is not None for row in rows), sum(row.right for row in rows)
    slowest = max(row.seconds for row in rows)
    return f"{answered} of {len(rows)} answered, {right} right, slowest {slowest * 1000:.0f} ms"


def _print_usage(console: Console, base_url: str, metrics_port: int) -> None:
    body = '{"model": "majority", "messages": [{"role": "user", "content": "What is 17 * 23?"}]}'
    console.print("\n[bold]Ask it yourself[/]")
    console.print(f"curl -si {base_url}/chat/completions -d '{body}'", soft_wrap=True, markup=False)
    console.print("\n[bold]From the OpenAI SDK[/]")
    ask = 'messages=[{"role": "user", "content": "What is 17 * 23?"}]'
    lines = (
        "from openai import OpenAI",
        f'client = OpenAI(base_url="{base_url}", api_key="none")',
        f'print(client.chat.completions.create(model="majority", {ask}).choices[0].message.content)',
    )
    console.print("\n".join(lines), soft_wrap=True, markup=False)
    console.print(f"\n[bold]Metrics[/]\ncurl -s http://127.0.0.1:{metrics_port}/metrics | grep ^hedgerow\n")


def _provider(folder: Path, name: str) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """Start one simulated provider."""
    script = folder / f"{name}.yaml"
    script.write_text(yaml.safe_dump({"m": PROVIDERS[name][1]}))
    arguments = ["simulate", "--script", str(script), "--port", "0", "--seed", str(SEED)]
    return _child(arguments, folder / f"{name}.log")


def _base_url(provider: subprocess.Popen[bytes], log: Path) -> str:
    """Wait until a simulated provider serves; return where."""
    line = _first_line(provider, log, "http://")
    return line[line.index("http://") :].strip() + "/v1"


@contextmanager
def _gateway(folder: Path, providers: dict[str, str], port: int, metrics_port: int) -> Iterator[None]:
    config = folder / "hedgerow.yaml"
    document: dict[str, Any] = {
        "providers": {name: {"api": "openai", "base_url": url} for name, url in providers.items()}
    }
    shared = {"deadline": "5s", "timeout": "5s", "retries": 0}
    document["routes"] = {name: {**shared, **route} for name, route in ROUTES.items()}
    config.write_text(yaml.safe_dump(document))
    arguments = ["serve", "--config", str(config), "--port", str(port), "--metrics-port", str(metrics_port)]
    with _child(arguments, folder / "gateway.log") as child:
        _first_line(child, folder / "gateway.log", "base_url")
        yield


@contextmanager
def _child(arguments: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command of ours beside us; end it with us."""
    with log.open("wb") as output:
        command = [sys.executable, "-m", "gateway", *arguments]
        child = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)  # noqa: S603 -- ours
        try:
            yield child
        finally:
            child.terminate()
            try:
                child.wait(timeout=5)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def _first_line(child: subprocess.Popen[bytes], log: Path, word: str) -> str:
    """Wait for the line with which a child says that it is ready."""
    give_up = time.monotonic() + PATIENCE
    while time.monotonic() < give_up:
        said = log.read_text(errors="replace")
        ready = next((line for line in said.split("\n")[:-1] if word in line), None)
        if ready is not None:
            return ready
        if child.poll() is not None:
            raise CannotDemonstrate(said.strip() or f"a process of the demo ended with status {child.returncode}")
        time.sleep(0.02)
    raise CannotDemonstrate(f"a process of the demo did not start within {PATIENCE:g} s: {said.strip()}")
