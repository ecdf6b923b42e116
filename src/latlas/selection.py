"""Which epoch is the best by validation, and when training stops by itself."""

from __future__ import annotations

from dataclasses import dataclass, field

from latlas.checkpoints import Progress
from latlas.data.batches import Batches
from latlas.metrics.elbo import Evaluation, evaluate
from latlas.metrics.importance import trained_bound
from latlas.models import Model
from latlas.objectives import Objective
from latlas.settings import Config
from latlas.text import counted
from latlas.training import EpochEnded, Plan, clearly_worse


@dataclass(frozen=True)
class Verdict:
    """What validation says of an epoch: its numbers and its score, both None where there are none, and whether it is
    the best so far.
    """

    valid: Evaluation | None
    score: float | None
    better: bool


@dataclass
class Selection:
    """Ranks the epochs of a training by the objective that is trained.

    `scores` are (step, score) of each validation since the run was begun or trained further.
    """

    config: Config
    objective: Objective
    length: Plan
    scores: list[tuple[int, float]] = field(default_factory=list)

    def judge(self, model: Model, valid: Batches, event: EpochEnded, progress: Progress) -> Verdict:
        """Validates an epoch that ended, and keeps in the progress which one is the best."""
        found = evaluate(model, valid) if len(valid) else None
        score = self._score(model, valid, found, event.step < self.length.warmup)
        better = score is None or progress.best_score is None or score > progress.best_score
        passed = self.length.validated // self.length.per_epoch
        progress.epochs_without_better = 0 if better else progress.epochs_without_better + passed
        if score is not None:
            self.scores.append((event.step, score))
        if better:
            progress.best_step, progress.best_score = event.step, score
        return Verdict(found, score, better)

    def _score(self, model: Model, valid: Batches, found: Evaluation | None, warming: bool) -> float | None:
        """The score that ranks epochs. None while weights or capacity still rise, as the objective then changes: the
        newest epoch counts as the best.
        """
        options = self.config.objective
        scheduled = options.schedule != "constant" or options.capacity is not None
        if found is None or (scheduled and warming):
            return None
        bound = trained_bound(model, valid, self.objective)
        return self.objective.score(found.distortion, found.rate, bound)

    def is_over(self, progress: Progress) -> str:
        """Why training stops early, "" where it does not."""
        patience = self.config.training.patience
        if patience == "clearly-worse":
            worse = clearly_worse(self.scores, self.length)
            return "validation stays clearly worse than at its best" if worse else ""
        over = patience is not None and progress.epochs_without_better >= patience
        return f"validation no better for {counted(patience or 0, 'epoch')}" if over else ""
