"""The report's numbers as text, and what they do and do not show in plain words."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rbft_ray.core.bootstrap import FEW_GROUPS
from rbft_ray.core.schema import Reason

ARM_TITLES = {"zero_shot": "zero-shot", "direct_sft": "direct SFT", "rb_ft": "RB-FT"}
BASELINE, METHOD = "direct_sft", "rb_ft"  # what the comparison is between
SCORE_TITLES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro-F1",
    "macro_precision": "macro precision",
    "macro_recall": "macro recall",
    "weighted_f1": "weighted F1",
    "weighted_precision": "weighted precision",
    "weighted_recall": "weighted recall",
    "mcc": "MCC",
    "roc_auc": "ROC AUC",
    "pr_auc": "PR AUC",
    "nll": "NLL",
    "brier": "Brier",
    "ece": "ECE",
}
FEW_CLIPS = 100
WIDE_INTERVAL = 0.1
MEND_THE_TASK = "sharpen its definition, or raise rationalize.candidates or rationalize.more_tries"
MEND = {  # by the reason that most clips without a rationale have
    Reason.TOO_LONG: "raise rationalize.max_model_len, or lower sampling.fps, sampling.num_frames or sampling.max_pixels",
    Reason.TRUNCATED: "raise rationalize.max_tokens",
    Reason.ENGINE_ERROR: "see in their details what the engine had against them",
    Reason.WORKER_DIED: "see in Ray's logs what ended the process that worked on them",
}
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|~$-])")


def number(value: float | None) -> str:
    """Three decimals, or a dash where there is no value."""
    return "–" if value is None else f"{value:.3f}"


def signed(value: float | None) -> str:
    """As `number`, with its sign."""
    return "–" if value is None else f"{value:+.3f}"


def span(interval: Sequence[float | None], *, sign: bool = False) -> str:
    """An interval such as '0.188 to 0.319', with `sign` '-0.020 to +0.120'; '' where it is undefined."""
    low, high = interval
    if low is None or high is None:
        return ""
    return f"{low:+.3f} to {high:+.3f}" if sign else f"{low:.3f} to {high:.3f}"


def threshold(value: float | None) -> str:
    """The confidence below which an arm abstains: a number, 'never' (None) or 'always' (above 1)."""
    if value is None:
        return "never"
    return "always" if value > 1 else number(value)


def p_value(p: float) -> str:
    """Such as 'p = 0.032' or 'p < 0.001'."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def score_title(name: str) -> str:
    """The field's word for a key of `scores`."""
    return SCORE_TITLES.get(name, name.replace("_", "-"))


def markdown_cell(text: object) -> str:
    """Any text as it stands inside one cell of a GitHub table."""
    escaped = _MARKDOWN.sub(r"\\\1", " ".join(str(text).split()))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def verdict(comparison: Mapping[str, Any]) -> dict[str, Any]:
    """What `compare_predictions` of direct SFT (a) and RB-FT (b) says.

    Returns:
        tone: 'better', 'worse', or 'unclear' (also where the scores disagree); headline; sentences, one per score and caveat.
    """
    tones = {name: _tone(comparison[name]["interval"]) for name in ("accuracy", "macro_f1")}
    tone = tones["accuracy"] if len(set(tones.values())) == 1 else "unclear"
    phrases = {
        "better": "RB-FT is better than direct SFT on these clips.",
        "worse": "RB-FT is worse than direct SFT on these clips.",
        "unclear": "These clips show no clear difference between RB-FT and direct SFT.",
    }
    headline = phrases[tone]
    if len(set(tones.values())) > 1:
        each = [
            f"{'no clear difference' if own == 'unclear' else own} in {score_title(name)}"
            for name, own in tones.items()
        ]
        headline = f"RB-FT against direct SFT: {', '.join(each)}."
    sentences = [_difference(score_title(name), comparison[name]) for name in tones]
    left_out = comparison["only_a"] + comparison["only_b"]
    if left_out:
        sentences.append(f"Compared on the {comparison['clips']} clips that both have scored; {left_out} are left out.")
    groups = comparison["groups"]
    if 1 < groups < FEW_GROUPS:
        sentences.append(
            f"The clips come from only {groups} groups; with fewer than {FEW_GROUPS} all intervals of this report are too narrow "
            "and p is too small."
        )
    return {"tone": tone, "headline": headline, "sentences": sentences}


def _tone(interval: Sequence[float | None]) -> str:
    low, high = interval
    if low is None or high is None or low <= 0 <= high:
        return "unclear"
    return "better" if low > 0 else "worse"


def _difference(title: str, found: Mapping[str, Any]) -> str:
    values = f"RB-FT {number(found['b'])}, direct SFT {number(found['a'])}, difference {signed(found['difference'])}"
    if found["p"] is None:
        return f"{title.capitalize()}: {values}; all clips are of one group, so there is no interval."
    test = f"95 % interval {span(found['interval'], sign=True)}, {p_value(found['p'])}"
    return f"{title[:1].upper()}{title[1:]}: {values} ({test})."


def constant_accuracy(metrics: Mapping[str, Mapping[str, Any]]) -> float:
    """The accuracy of an answer that is always the most frequent class of the test clips. metrics: as for `warnings`."""
    supports = [[row["support"] for row in test["per_class"].values()] for test in metrics.values()]
    return max(max(support) / sum(support) for support in supports)


def warnings(metrics: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What the reader must know before trusting the test scores: few clips, wide intervals, arms that may be guessing.

    Args:
        metrics: {arm: test split of its metrics.json}.
    """
    found = []
    clips = min(test["scored"] for test in metrics.values())
    intervals = {arm: test["intervals"]["accuracy"] for arm, test in metrics.items()}
    widths = [high - low for low, high in intervals.values() if low is not None]
    if clips < FEW_CLIPS or (widths and max(widths) > WIDE_INTERVAL):
        wide = f" and the 95 % intervals of accuracy are up to {max(widths):.2f} wide" if widths else ""
        found.append(
            f"Small sample: there are {clips} scored test clips, one clip more or less right moves accuracy by {1 / clips:.3f}"
            f"{wide}. Differences of this size can be chance; more test clips make the intervals narrower."
        )
    constant = constant_accuracy(metrics)
    guessing = [ARM_TITLES[arm] for arm, (low, _) in intervals.items() if low is not None and low <= constant]
    if guessing:
        found.append(
            f"Not shown to be better than always the most frequent class (accuracy {constant:.3f}): {', '.join(guessing)}. "
            "The interval reaches down to it."
        )
    rejected = max(test["rejected"] for test in metrics.values())
    if rejected:
        found.append(
            f"{rejected} of {clips + rejected} test clips could not be scored. They are left out of the scores; strict "
            "accuracy counts them as errors."
        )
    return found


def rationale_warnings(
    counts: Mapping[str, Mapping[str, int]],
    reasons: Mapping[str, str],
    judges: Mapping[str, Mapping[str, Any]],
    step_dir: str,
) -> list[str]:
    """What the user must know of the rationales, on the terminal and in the report: `unfit_judge` and `few_rationales`."""
    return [*unfit_judge(judges), *few_rationales(counts, reasons, step_dir)]


def unfit_judge(judges: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A sentence where the base did not judge its own rationales.

    Args:
        judges: `judges.json` of the rationalize step; empty where the support check is off.
    """
    model = judges.get("model", {"fit": True})
    if model["fit"]:
        return []
    why = f"The base was not used to judge whether a rationale's text speaks for its label: {model['detail']}."
    if model["agreement"] is None:  # too few to tell
        return [why]
    return [f"{why} One sentence of definition for each class, or a larger base, makes it a better judge."]


def few_rationales(counts: Mapping[str, Mapping[str, int]], reasons: Mapping[str, str], step_dir: str) -> list[str]:
    """A sentence for each class that lost more than half of its training clips to the gate.

    Args:
        counts: of `stages.rationalize.counts_by_class`; reasons: of `main_reasons`; step_dir: of the rationalize step.
    """
    return [
        f"Class {label!r}: only {own['clips'] - own['none']} of {own['clips']} training clips have an accepted rationale. "
        f"Most of the others: {reasons[label].replace('_', ' ')}; `rbft audit {step_dir}` shows each. "
        f"To do: {MEND.get(Reason(reasons[label]), MEND_THE_TASK)}."
        for label, own in counts.items()
        if 2 * own["none"] > own["clips"]
    ]
