"""A study as one page of HTML that needs nothing else: no server, no network."""

import json
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from autopeft.nouns import Study, TrialStatus
from autopeft.report.anatomy import anatomy, in_common
from autopeft.report.figures.anatomy import anatomy_figure, by_layer_figure, in_common_figure, in_words
from autopeft.report.figures.front import described, front_figure
from autopeft.report.figures.look import CONFIG
from autopeft.report.figures.progress import fate_figure, hypervolume_figure
from autopeft.report.figures.why import calibration_figure, importance_figure
from autopeft.report.numbers import show_mean, show_score, show_share
from autopeft.report.points import points
from autopeft.report.progress import common_of, fate, hypervolume_curve
from autopeft.report.summary import Row, Summary, summarise
from autopeft.report.why import decisions, foretold, importance, space_of

if TYPE_CHECKING:
    from autopeft.store import Repository

_MOST_TRIALS = 2_000  # whose configurations are read, of a large study every k-th

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:">
<title>{{ summary.name }} · autopeft</title>
<style>
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 1100px; margin: 0 auto; padding: 1rem; }
h1 { margin-bottom: 0; } h2 { margin-top: 2.5rem; }
p.calm, figcaption { color: #555; } figure { margin: 1rem 0; }
table { border-collapse: collapse; } .wide { overflow-x: auto; }
th, td { padding: .35rem .7rem; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
pre { background: #f5f5f5; padding: .7rem; overflow-x: auto; white-space: pre-wrap; }
</style>
<script>{{ plotly }}</script>
</head>
<body>
<h1>{{ summary.name }}</h1>
<p class="calm">{{ summary.model }} on {{ summary.data }} · budget {{ summary.budget }} ({{ "{:,}".format(summary.limit) }} trainable
parameters of {{ "{:,}".format(summary.backbone_parameters) }}) · space {{ summary.space }} · made {{ summary.created_at[:16] | replace("T", " ") }} UTC</p>
<p>{{ counts }}. The front is by {{ "confirmed means" if summary.by_confirmed else "the search's own scores" }}
{%- if summary.hypervolume is not none %}; hypervolume {{ "%.4f" % summary.hypervolume }}{% endif %}.</p>
{% for section in sections %}
<h2>{{ section.title }}</h2>
{% if section.text %}<p>{{ section.text }}</p>{% endif %}
{% for drawn in section.figures %}
<figure role="img" aria-label="{{ drawn.words }}"><div id="{{ drawn.id }}"></div><figcaption>{{ drawn.words }}</figcaption></figure>
{% endfor %}
{% if section.rows %}
<div class="wide"><table>
<tr><th>trial</th><th></th><th class="n">{{ summary.metric }}</th><th class="n">trainable</th><th class="n">share</th><th>configuration</th></tr>
{% for row in section.rows %}
<tr><td>{{ row.number }}</td><td>{{ row.role }}</td><td class="n">{{ row.score }}</td><td class="n">{{ row.trainable }}</td>
<td class="n">{{ row.share }}</td><td>{{ row.description }}</td></tr>
{% endfor %}
</table></div>
{% endif %}
{% if section.code %}<pre>{{ section.code }}</pre>{% endif %}
{% endfor %}
<p class="calm">Written by autopeft {{ version }} on {{ today }} UTC.</p>
<script type="application/json" id="figures">{{ figures }}</script>
<script>
const drawn = JSON.parse(document.getElementById("figures").textContent);
for (const [id, one] of Object.entries(drawn)) Plotly.newPlot(id, one.data, one.layout, {{ config }});
</script>
</body>
</html>
"""


def write_page(repository: "Repository", study: Study, path: Path) -> None:
    """Write a study as one page.

    Raises:
        StudyError: The database does not answer.
        OSError: The file cannot be written.
    """
    path.write_text(page(repository, study), encoding="utf-8")


def page(repository: "Repository", study: Study) -> str:
    """A study as one page of HTML: front, knee's anatomy, what the front has in common, why, progress, failures, settings."""
    summary = summarise(repository, study)
    figures: dict[str, go.Figure] = {}
    sections = [
        _front(repository, study, summary, figures),
        _where(repository, study, summary, figures),
        _why(repository, study, summary, figures),
        _progress(repository, study, figures),
        {
            "title": "Settings",
            "code": json.dumps(
                {name: value for name, value in study.settings.items() if name not in ("space", "backbone")},
                indent=2,
            ),
        },
        {"title": "The space", "code": study.settings.get("space", {}).get("text", "")},
    ]
    return str(
        jinja2.Environment(autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined)
        .from_string(_PAGE)
        .render(
            summary=summary,
            counts=", ".join(f"{n:,} {status}" for status, n in summary.counts.items() if n)
            or "no trial yet",
            sections=[_section(one) for one in sections],
            plotly=_raw(get_plotlyjs()),
            figures=_raw(_json({name: _plain(figure) for name, figure in figures.items()})),
            config=_raw(json.dumps(CONFIG)),
            version=version("autopeft"),
            today=datetime.now(UTC).isoformat(" ", "minutes")[:16],
        )
    )


def _raw(text: str) -> Any:
    from markupsafe import Markup  # jinja2's own

    return Markup(text)


def _json(value: Any) -> str:
    """JSON that cannot end the element that it stands in."""
    return json.dumps(value).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _plain(figure: go.Figure) -> Any:
    figure.update_layout(template="plotly_white")
    return json.loads(figure.to_json() or "{}")


def _section(given: dict[str, Any]) -> dict[str, Any]:
    return {"text": "", "figures": [], "rows": [], "code": "", **given}


def _drawn(figures: dict[str, go.Figure], figure: go.Figure, words: str) -> dict[str, str]:
    name = f"figure-{len(figures)}"
    figures[name] = figure
    return {"id": name, "words": words}


def _front(
    repository: "Repository", study: Study, summary: Summary, figures: dict[str, go.Figure]
) -> dict[str, Any]:
    if not summary.front:
        return {"title": "The front", "text": "No trial of the search is complete yet."}
    frame = points(repository, study)
    return {
        "title": "The front",
        "figures": [_drawn(figures, front_figure(frame, summary), described(frame, summary))],
        "rows": [_row(row) for row in (*summary.front, *summary.baselines)],
    }


def _row(row: Row) -> dict[str, Any]:
    error = None if row.confirmed is None else row.confirmed.standard_error
    return {
        "number": row.number,
        "role": "knee" if row.knee else "best" if row.best else "" if row.on_front else row.kind,
        "score": show_score(row.reported) if row.confirmed is None else show_mean(row.reported, error),
        "trainable": f"{row.trainable:,}",
        "share": show_share(row.share),
        "description": row.description,
    }


def _where(
    repository: "Repository", study: Study, summary: Summary, figures: dict[str, go.Figure]
) -> dict[str, Any]:
    knee = next((row for row in summary.front if row.knee), None)
    if knee is None:
        return {"title": "Where the parameters are", "text": "There is no front yet."}
    found = anatomy(repository.trial(study.id, knee.number).plan, study)
    configurations = [row.configuration for row in summary.front]
    empty, shares = in_common(configurations, study)
    return {
        "title": "Where the parameters are",
        "figures": [
            _drawn(figures, anatomy_figure(found), f"The knee, trial {knee.number}. {in_words(found)}"),
            _drawn(figures, by_layer_figure(found), "Its trainable parameters by layer."),
            _drawn(
                figures,
                in_common_figure(empty, shares, len(configurations)),
                f"Share of the front's {len(configurations)} members with a module at each place.",
            ),
        ],
    }


def _why(
    repository: "Repository", study: Study, summary: Summary, figures: dict[str, go.Figure]
) -> dict[str, Any]:
    space = space_of(study)
    if space is None:
        return {"title": "Why", "text": "The study does not say which space it searched."}
    some = points(repository, study)["number"]
    numbers = {int(n) for n in some.iloc[:: max(-(-len(some) // _MOST_TRIALS), 1)]}
    trials = repository.trials(study.id, numbers | {row.number for row in summary.front})
    table = decisions(space, trials, summary.metric)
    worth = importance(space, table, "score") if len(table) else {}
    if not worth:
        return {"title": "Why", "text": "With four complete trials, decisions can be told apart."}
    most = ", ".join(f"{name} {share:.0%}" for name, share in list(worth.items())[:5])
    drawn = [_drawn(figures, importance_figure({summary.metric: worth}), f"What explains the score: {most}.")]
    held = foretold(space, trials, summary.metric)
    if held:
        inside = sum(one.within <= 2 for one in held) / len(held)
        words = f"Each trial as the surrogate foretells it from the others; {inside:.0%} lie within two standard deviations."
        drawn.append(_drawn(figures, calibration_figure(held, summary.metric), words))
    return {"title": "Why", "figures": drawn}


def _progress(repository: "Repository", study: Study, figures: dict[str, go.Figure]) -> dict[str, Any]:
    frame = points(repository, study)
    if not len(frame):
        return {"title": "Progress", "text": "The study has no trial yet."}
    drawn, common = [], common_of(study)
    if common is not None:
        curve = hypervolume_curve(frame, study, common)
        if len(curve):
            words = f"Hypervolume after each complete trial; {curve['hypervolume'].iloc[-1]:.4f} at the end."
            drawn.append(_drawn(figures, hypervolume_figure({study.name: curve}), words))
    became = fate(frame)
    words = ", ".join(f"{count} {status}" for status, count in became.counts.items() if count)
    drawn.append(_drawn(figures, fate_figure(frame), f"What became of the search's trials: {words}."))
    failed = [int(n) for n in frame.loc[frame["status"] == TrialStatus.FAILED, "number"]][-50:]
    reasons = [f"trial {trial.number}: {trial.reason}" for trial in repository.trials(study.id, failed)]
    return {"title": "Progress", "figures": drawn, "code": "\n".join(reasons)}
