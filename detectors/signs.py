"""Signs: several kinds of witness over the same cells, and what follows when two of them agree.

For hazards that no single witness proves: an instrument may be broken, a picture a reflection, a caller a block off.
A detector built on this says what its signs are and how grave they make it; agreeing, weighing and wording are here.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from detectors.arrays import noisy_or
from detectors.contract import (
    MAX_SEVERITY,
    Bools,
    CellView,
    Explanation,
    Floats,
    Ints,
    Verdict,
    Verdicts,
)
from detectors.corroboration import C, CorroboratingDetector
from detectors.wording import counted_en, number, or_none
from schemas.alert import SEVERITY_EN, SEVERITY_ZH

REASONS = ("unknown", "quiet", "lingering", "one_sign_only", "signs_agree", "strong_sign")
UNKNOWN, QUIET, LINGERING, ONE_SIGN_ONLY, SIGNS_AGREE, STRONG_SIGN = range(len(REASONS))

TRUST_QUIET = 0.7  # that a place whose instrument reads low is quiet
ALL = slice(None)


class Phrase(Protocol):
    """How one value is said; None where it says nothing."""

    def __call__(self, value: float) -> tuple[str, str] | None: ...


def measure(zh: str, en: str, unit: str) -> Phrase:
    """ "气体浓度 30 %LEL", "gas 30 %LEL"."""
    return lambda value: (f"{zh} {number(value)} {unit}".rstrip(), f"{en} {number(value)} {unit}".rstrip())


def count(zh: str, en: str) -> Phrase:
    """ "2 件工单", "2 tickets"; nothing for none."""
    return lambda value: (f"{number(value)} {zh}", counted_en(value, en)) if value else None


@dataclass(frozen=True, slots=True)
class Sign:
    """One kind of witness over n cells. `times` is how often it spoke, 0 for not at all; more than `most` repeat."""

    times: Floats
    trust: float
    strong: Bools  # where it is believed alone
    most: int = 1

    @property
    def seen(self) -> Bools:
        return self.times > 0


@dataclass(frozen=True, slots=True)
class Look:
    """What a detector sees of n cells: its signs, and values by name for `grade` and `describe`."""

    signs: tuple[Sign, ...]
    known: Bools  # an instrument is heard: without one, no sign is silence and not quiet
    lingering: Bools  # no sign any more, but too much to clear
    values: Mapping[str, Floats]  # the detector's `phrases` by name; NaN where nothing was measured


class SignDetector(CorroboratingDetector[C]):
    """Raises where two kinds of sign agree, or a strong one stands alone.

    At most one kind may count from the neighbour cells and none of those may be strong: so an alert has its place in a
    cell that shows something itself.

    Confidence is ``1 - product of (1 - trust) ** times`` over the signs; of a clear 0.7.
    """

    reasons = REASONS
    phrases: ClassVar[Mapping[str, Phrase]]
    """The values that `look` gives, and how each is said."""

    @abstractmethod
    def look(self, view: CellView, at: slice = ALL) -> Look:
        """The cells ``at``: all of them to judge, one to explain."""

    @abstractmethod
    def grade(self, look: Look, kinds: Ints) -> Ints:
        """Severity of each cell if it raised; `kinds` is how many kinds of sign agree. Clipped to 1..4."""

    @property
    @abstractmethod
    def thresholds(self) -> dict[str, float]:
        """What the values are held against."""

    def judge(self, view: CellView) -> Verdicts:
        look = self.look(view)
        kinds = np.sum([sign.seen for sign in look.signs], axis=0)
        strong = np.any([sign.strong & sign.seen for sign in look.signs], axis=0)
        raised = (kinds >= 2) | strong
        held = (kinds > 0) | look.lingering

        result = Verdicts.unknown(len(view.cells))
        result.verdict[look.known] = Verdict.CLEAR
        result.verdict[held] = Verdict.HOLD
        result.verdict[raised] = Verdict.RAISE
        result.severity[raised] = np.clip(self.grade(look, kinds), 1, MAX_SEVERITY)[raised]
        sure = noisy_or((sign.trust, np.minimum(sign.times, sign.most)) for sign in look.signs)
        result.confidence[:] = np.where(kinds > 0, sure, np.where(look.known, TRUST_QUIET, 0.0))
        result.reason[:] = np.select(
            [raised & (kinds >= 2), raised, kinds > 0, look.lingering, look.known],
            [SIGNS_AGREE, STRONG_SIGN, ONE_SIGN_ONLY, LINGERING, QUIET],
            UNKNOWN,
        )
        return result

    def explain(self, view: CellView, i: int, verdicts: Verdicts) -> Explanation:
        look = self.look(view, slice(i, i + 1))
        values = {name: or_none(column[0]) for name, column in look.values.items()}
        zh, en = self._sentences(Verdict(int(verdicts.verdict[i])), int(verdicts.severity[i]), values)
        return Explanation(
            values=values,
            thresholds=self.thresholds,
            sentence_zh=zh,
            sentence_en=en,
            evidence_features=tuple(feature.name for feature in self.features if feature.evidence),
        )

    def _sentences(self, verdict: Verdict, severity: int, values: Mapping[str, float | None]) -> tuple[str, str]:
        said = [self.phrases[name](value) for name, value in values.items() if value is not None]
        zh = "，".join(phrase[0] for phrase in said if phrase)
        en = ", ".join(phrase[1] for phrase in said if phrase)
        name_zh, name_en, minutes = self.title_zh, self.title_en.lower(), self.settings.confirm_minutes
        if verdict is Verdict.RAISE:
            return (
                f"疑似{name_zh}（{SEVERITY_ZH[severity]}），近 {minutes} 分钟：{zh}。",
                f"Likely {name_en} ({SEVERITY_EN[severity]}): {en} within {minutes} min.",
            )
        if verdict is Verdict.HOLD:
            return f"{name_zh}迹象尚存：{zh}。", f"Signs of {name_en} remain: {en}."
        if verdict is Verdict.CLEAR:
            shown_zh, shown_en = (f"，{zh}" if zh else ""), (f"; {en}" if en else "")
            return (
                f"近 {minutes} 分钟无{name_zh}迹象{shown_zh}。",
                f"No sign of {name_en} within {minutes} min{shown_en}.",
            )
        return (
            f"近 {minutes} 分钟无有效数据，无法判断{name_zh}情况。",
            f"No usable data within {minutes} min: {name_en} cannot be judged.",
        )
