"""The three dashboards: Redundancy, Providers, Gateway."""

from __future__ import annotations

from deploy.grafana.panels import WINDOW as W
from deploy.grafana.panels import Board, Panel

ROUTE = 'route=~"$route"'
TARGET = 'target=~"$target"'
FAILED = f'{ROUTE}, status=~"5.."'
MEANT = f'{ROUTE}, status=~"200|5.."'
"""Requests that were no mistake of the client's, and whose client did not leave."""
ALONE_FAILED = f'{ROUTE}, outcome="failed"'


def quantile(share: float, metric: str, by: str, where: str) -> str:
    """Return the PromQL of a histogram's quantile."""
    return f"histogram_quantile({share}, sum by (le, {by}) (rate({metric}_bucket{{{where}}}[{W}])))"


def mean(metric: str, by: str, where: str) -> str:
    """Return the PromQL of a histogram's mean."""
    return f"sum by ({by}) (rate({metric}_sum{{{where}}}[{W}])) / sum by ({by}) (rate({metric}_count{{{where}}}[{W}]))"


def rate(metric: str, by: str, where: str) -> str:
    """Return the PromQL of a counter's rate."""
    return f"sum by ({by}) (rate({metric}{{{where}}}[{W}]))"


def _over(metric: str, where: str) -> str:
    return f"sum(increase({metric}{{{where}}}[$__range]))"


_COMPARED = f"hedgerow_first_target_total{{{ROUTE}}}"

REDUNDANCY = Board(
    "hedgerow-redundancy",
    "Hedgerow / Redundancy",
    "What asking several targets gave, against what the first one alone would have given, and what it cost.",
    ("route",),
    {
        "What it gave": [
            Panel(
                "Success with redundancy", "Requests answered, of those that were no mistake of the client's.",
                "percentunit",
                {"success": f"1 - {_over('hedgerow_requests_total', FAILED)} / "
                            f"{_over('hedgerow_requests_total', MEANT)}"},
                figure=True,
            ),
            Panel(
                "Success without", "At most so many the first target alone would have answered: what it was not "
                "given the time to finish counts as answered.", "percentunit",
                {"at most": f"1 - {_over('hedgerow_first_target_total', ALONE_FAILED)} / "
                            f"{_over('hedgerow_first_target_total', ROUTE)}"},
                figure=True,
            ),
            Panel(
                "Rescued requests", "Answered, though the first target failed.", "short",
                {"rescued": _over("hedgerow_rescues_total", ROUTE)}, figure=True,
            ),
            Panel(
                "Waiting saved", "Estimated from how long the first target's calls took before (Kaplan-Meier).", "s",
                {"saved": _over("hedgerow_latency_saved_seconds_total", ROUTE)}, figure=True,
            ),
        ],
        "Success and latency, with and without": [
            Panel(
                "Requests the first target alone would have failed", "Below it, what failed all the same.",
                "percentunit",
                {"{{route}}: first target alone": f'sum by (route) (rate(hedgerow_first_target_total{{{ROUTE}, '
                 f'outcome="failed"}}[{W}])) / sum by (route) (rate({_COMPARED}[{W}]))',
                 "{{route}}: with redundancy": f'sum by (route) (rate(hedgerow_requests_total{{{ROUTE}, '
                 f'status=~"5.."}}[{W}])) / sum by (route) (rate(hedgerow_requests_total{{{ROUTE}, '
                 f'status=~"200|5.."}}[{W}]))'},
            ),
            Panel(
                "Time until an answer, 95th percentile", "And what the first target alone would have taken; of a live "
                "stream, until its first words.",
                "s",
                {"{{route}}: with redundancy": quantile(
                    0.95, "hedgerow_selected_seconds", "route", ROUTE),
                 "{{route}}: first target alone": quantile(0.95, "hedgerow_first_target_seconds", "route", ROUTE)},
            ),
            Panel(
                "Waiting saved and added", "Seconds in a second: saved by others' answers, added by waiting for votes.",
                "short",
                {"{{route}}: saved": rate("hedgerow_latency_saved_seconds_total", "route", ROUTE),
                 "{{route}}: added": rate("hedgerow_latency_added_seconds_total", "route", ROUTE)},
            ),
            Panel(
                "Rescues", "Requests in a second that were answered though the first target failed.", "reqps",
                {"{{route}}": rate("hedgerow_rescues_total", "route", ROUTE)},
            ),
            Panel(
                "Streams continued by another target", "They had broken off after their first words. splice: by a "
                "sibling that had said the same; prefill: from the beginning of the answer.", "reqps",
                {"{{route}}: {{how}}": rate("hedgerow_stream_rescues_total", "route, how", ROUTE)},
            ),
            Panel(
                "Verified streams", "What the siblings said of streams that were passed on at once.", "reqps",
                {"{{route}}: {{outcome}}": rate("hedgerow_verified_total", "route, outcome", ROUTE)}, stacked=True,
            ),
        ],
        "Hedges": [
            Panel(
                "Hedges", "Branches a second that were started because an earlier one was slow, and those that won.",
                "reqps",
                {"{{route}}: fired": rate("hedgerow_hedges_fired_total", "route", ROUTE),
                 "{{route}}: won": rate("hedgerow_hedges_won_total", "route", ROUTE)},
            ),
            Panel(
                "Share of hedges that won", "Few: they start too early to be needed, or too late.", "percentunit",
                {"{{route}}": f"clamp_max(sum by (route) (rate(hedgerow_hedges_won_total{{{ROUTE}}}[{W}])) / "
                 f"sum by (route) (rate(hedgerow_hedges_fired_total{{{ROUTE}}}[{W}])), 1)"},
            ),
            Panel(
                "Hedges withheld", "share: the route's part of its requests is used up; slow: everything is; budget: "
                "the provider has no room.", "reqps",
                {"{{route}}: {{why}}": rate("hedgerow_hedges_withheld_total", "route, why", ROUTE)},
            ),
            Panel(
                "Share of requests hedged", "An adaptive launch keeps it at a twentieth.", "percentunit",
                {"{{route}}": f"sum by (route) (rate(hedgerow_hedges_fired_total{{{ROUTE}}}[{W}])) / "
                 f"sum by (route) (rate(hedgerow_requests_total{{{ROUTE}}}[{W}]))"},
            ),
        ],
        "Who wins, and how much they agree": [
            Panel(
                "Share of wins", "By target.", "percentunit",
                {"{{target}}": f"sum by (target) (rate(hedgerow_selected_total{{{ROUTE}}}[{W}])) / "
                 f"scalar(sum(rate(hedgerow_selected_total{{{ROUTE}}}[{W}])))"}, stacked=True,
            ),
            Panel(
                "Agreement", "The winner's share of the vote, mean.", "percentunit",
                {"{{route}}": mean("hedgerow_agreement_ratio", "route", ROUTE)},
            ),
            Panel(
                "Abstentions", "Decisions that the route's selector left to the next, or to an error.", "reqps",
                {"{{route}}: {{outcome}}": rate("hedgerow_abstentions_total", "route, outcome", ROUTE)},
            ),
            Panel(
                "Decided by", "The selector that gave the decision.", "reqps",
                {"{{selector}}": rate("hedgerow_selected_total", "selector", ROUTE)}, stacked=True,
            ),
        ],
        "What it cost": [
            Panel(
                "Share of dollars wasted", "Paid for answers that nobody got; cancelled ones count with their prompt.",
                "percentunit",
                {"wasted": f'sum(rate(hedgerow_cost_dollars_total{{fate="lost"}}[{W}])) / '
                           f"sum(rate(hedgerow_cost_dollars_total[{W}]))"},
            ),
            Panel(
                "Dollars an hour, by fate", "Targets without a known price are missing here.", "currencyUSD",
                {"{{fate}}, {{basis}}": f"3600 * {rate('hedgerow_cost_dollars_total', 'fate, basis', '')}"},
                stacked=True,
            ),
            Panel(
                "Branches cancelled", "Because another answer was selected.", "reqps",
                {"{{target}}": f"sum by (target) (rate(hedgerow_superseded_total[{W}]))"},
            ),
            Panel(
                "Tokens a second, by fate", "Those of every priced and unpriced target.", "short",
                {"{{fate}}, {{kind}}": f"sum by (fate, kind) (rate(hedgerow_tokens_total[{W}]))"}, stacked=True,
            ),
        ],
    },
)  # fmt: skip

PROVIDERS = Board(
    "hedgerow-providers",
    "Hedgerow / Providers",
    "How well each target does: health, errors, speed, and what it costs.",
    ("target",),
    {
        "Health": [
            Panel(
                "Calls that were answered", "Of the calls that were not cancelled.", "percentunit",
                {"{{target}}": f'sum by (target) (rate(hedgerow_attempts_total{{{TARGET}, outcome="answered"}}[{W}])) /'
                 f' sum by (target) (rate(hedgerow_attempts_total{{{TARGET}, outcome!="superseded"}}[{W}]))'},
            ),
            Panel(
                "Failed calls, by kind", "Each call, retries counted.", "reqps",
                {"{{target}}: {{outcome}}": rate(
                    "hedgerow_attempts_total", "target, outcome", TARGET + ', outcome!~"answered|superseded"')},
            ),
            Panel(
                "Branches that gave up, by kind", "After their retries; answers that failed a check are among them.",
                "reqps", {"{{target}}: {{kind}}": rate("hedgerow_failures_total", "target, kind", TARGET)},
            ),
            Panel(
                "Circuits", "0 closed, 1 half open, 2 open: then the target is not asked; the worst of all workers.",
                "short", {"{{target}}": "max by (target) (hedgerow_breaker_state)"},
            ),
            Panel(
                "Keys not used", "1 while a provider's key, or its use for one model, is disabled.",
                "short", {"{{provider}}: {{reason}}": "max by (provider, reason) (hedgerow_key_disabled)"},
            ),
            Panel(
                "Extra calls denied", "Retries and hedges for which the provider's budget had no room.", "reqps",
                {"{{target}}: {{what}}": rate("hedgerow_budget_denied_total", "target, what", TARGET)},
            ),
            Panel(
                "Budget of extra calls", "Failures empty it, answers refill it; at half there are no more retries and "
                "hedges. The least of all workers.", "percentunit",
                {"{{provider}}": "min by (provider) (hedgerow_budget_left_ratio)"},
            ),
            Panel(
                "Calls in flight and waiting", "By provider, over all workers.", "short",
                {"{{provider}}: in flight": "sum by (provider) (hedgerow_calls_in_flight)",
                 "{{provider}}: waiting": "sum by (provider) (hedgerow_calls_waiting)"},
            ),
        ],
        "Speed": [
            Panel(
                "Time of an answer, median and 95th percentile", "Calls that were answered.", "s",
                {"{{target}}: p50": quantile(0.5, "hedgerow_attempt_duration_seconds", "target", TARGET),
                 "{{target}}: p95": quantile(0.95, "hedgerow_attempt_duration_seconds", "target", TARGET)},
            ),
            Panel(
                "Time to first token, 95th percentile", "Live streams, from the launch of the branch.", "s",
                {"{{target}}": quantile(0.95, "hedgerow_target_first_token_seconds", "target", TARGET)},
            ),
            Panel(
                "Time for a token, median", "The mean gap within a stream.", "s",
                {"{{target}}": quantile(0.5, "hedgerow_token_gap_seconds", "target", TARGET)},
            ),
            Panel(
                "Longest silence in a stream, 95th percentile", "What a reader sees as a stall.", "s",
                {"{{target}}": quantile(0.95, "hedgerow_longest_gap_seconds", "target", TARGET)},
            ),
        ],
        "Use and cost": [
            Panel(
                "Calls a second", "Retries counted.", "reqps",
                {"{{target}}": rate("hedgerow_attempts_total", "target", TARGET)}, stacked=True,
            ),
            Panel(
                "Dollars an hour", "Where the price is known.", "currencyUSD",
                {"{{target}}": f"3600 * {rate('hedgerow_cost_dollars_total', 'target', TARGET)}"}, stacked=True,
            ),
            Panel(
                "Tokens an answer, mean", "Completion tokens.", "short",
                {"{{target}}": mean("hedgerow_completion_tokens", "target", TARGET)},
            ),
            Panel(
                "Branches lost to refused keys and quotas", "Until the key is renewed, or credit is bought.", "reqps",
                {"{{target}}: {{kind}}": rate(
                    "hedgerow_failures_total", "target, kind", TARGET + ', kind=~"credential|quota"')},
            ),
        ],
    },
)  # fmt: skip

GATEWAY = Board(
    "hedgerow-gateway",
    "Hedgerow / Gateway",
    "The gateway itself: traffic, its own share of the time, and how near it is to its limits.",
    ("route",),
    {
        "Traffic": [
            Panel("Requests", "A second, now.", "reqps",
                  {"requests": f"sum(rate(hedgerow_requests_total[{W}]))"}, figure=True),
            Panel("In flight", "Requests being served.", "short",
                  {"in flight": "sum(hedgerow_requests_in_flight)"}, figure=True),
            Panel("Workers", "Processes that serve.", "short", {"workers": "sum(hedgerow_workers)"}, figure=True),
            Panel("Version", "What runs.", "short",
                  {"{{version}}": "sum by (version) (hedgerow_build_info)"}, figure=True),
            Panel("Requests a second, by status", "499: the client left.", "reqps",
                  {"{{status}}": rate("hedgerow_requests_total", "status", ROUTE)}, stacked=True),
            Panel("Requests a second, by route", "Routes of the configuration; the rest is _other.", "reqps",
                  {"{{route}}": rate("hedgerow_requests_total", "route", ROUTE)}, stacked=True),
            Panel("Latency of answers", "As clients see it.", "s",
                  {f"{{{{route}}}}: p{share * 100:g}": quantile(
                      share, "hedgerow_request_duration_seconds", "route", ROUTE + ', outcome="answered"')
                   for share in (0.5, 0.95)}),
            Panel("Time to first token", "Live streams, as clients see it, by OpenTelemetry's name.", "s",
                  {"{{gen_ai_request_model}}: p95": "histogram_quantile(0.95, sum by (le, gen_ai_request_model) "
                   f"(rate(gen_ai_server_time_to_first_token_seconds_bucket[{W}])))"}),
        ],
        "Its own share": [
            Panel("Overhead", "The gateway's own share of a request's time.", "s",
                  {"p50": quantile(0.5, "hedgerow_overhead_seconds", "job", ROUTE),
                   "p99": quantile(0.99, "hedgerow_overhead_seconds", "job", ROUTE)}),
            Panel("Lag of the event loop", "How late it was, looked at twice a second.", "s",
                  {"p50": quantile(0.5, "hedgerow_loop_lag_seconds", "job", ""),
                   "p99": quantile(0.99, "hedgerow_loop_lag_seconds", "job", "")}),
        ],
        "Saturation": [
            Panel("Cores in use", "All workers.", "short", {"cores": f"sum(rate(hedgerow_cpu_seconds_total[{W}]))"}),
            Panel("Memory", "Resident, all workers.", "bytes", {"memory": "sum(hedgerow_resident_memory_bytes)"}),
            Panel("Requests in flight", "By route.", "short",
                  {"{{route}}": f"sum by (route) (hedgerow_requests_in_flight{{{ROUTE}}})"}, stacked=True),
            Panel("Requests waiting for room", "At the front; beyond the queue, or its time, they get 503.", "short",
                  {"waiting": "sum(hedgerow_requests_waiting)"}),
            Panel("Calls waiting for room", "At a provider's limit; what waits too long fails as bulkhead_full.",
                  "short", {"{{provider}}": "sum by (provider) (hedgerow_calls_waiting)"}),
        ],
    },
)  # fmt: skip

BOARDS = (REDUNDANCY, PROVIDERS, GATEWAY)
