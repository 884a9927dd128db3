"""Sequence-level distillation: a teacher's translations become the text that a smaller student is trained on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flax import nnx

from workbench.checkpoint.directory import read_config
from workbench.decoding.translator import Translator
from workbench.errors import WorkbenchError
from workbench.evaluation.quality import evaluate
from workbench.evaluation.testset import TestSet, load_testset
from workbench.nn.network import TranslationNetwork
from workbench.text.pairs import listed
from workbench.text.tokenizer import Tokenizer
from workbench.training.gain import BASELINE, STUDENT, TASK_MOE, TEACHER, DistillationReport
from workbench.training.interrupts import held_interrupts
from workbench.training.lock import check_free, check_no_checkpoint, held
from workbench.training.loop import train
from workbench.training.metrics import Progress
from workbench.training.recipe import Recipe
from workbench.training.room import check_training
from workbench.training.teacher_text import SPLIT, write_teacher_text
from workbench.training.text import located, training_text, validation_text
from workbench.training.upcycling import Taken, start_from_non_experts


@dataclass(frozen=True)
class Distillation:
    """A distillation and its three phases, each of which goes on where it was interrupted.

    recipe: the student's, with the text whose source sides the teacher translates. teacher: its checkpoint.
    output: the run; `distilled/` in it gets the teacher's text. start_from_teacher: whether the student
    starts from the teacher's non-expert weights, as the paper's do. beam_size, batch_size, max_length: of
    every search, the teacher's and those that are compared. limit: sources of each direction that are
    translated, at most. others: `BASELINE` and `TASK_MOE` -> checkpoint to compare with. testset: what is
    scored, as in `load_testset`; None for the recipe's validation text. testset_limit: sentences of each
    direction that are scored, at most.
    """

    recipe: Recipe
    teacher: Path
    output: Path
    start_from_teacher: bool = False
    beam_size: int = 1
    batch_size: int = 32
    max_length: int | None = None
    limit: int | None = None
    others: Mapping[str, Path] = field(default_factory=dict)
    testset: str | None = None
    testset_limit: int | None = None

    @property
    def text(self) -> Path:
        """Where the teacher's text lies."""
        return self.output / "distilled"

    @property
    def student(self) -> Recipe:
        """The recipe that the student is trained by: the teacher's text, its tokenizer, perhaps its weights."""
        data = dataclasses.replace(
            located(self.recipe.data), directory=str(self.text), train=SPLIT, tokenizer=""
        )
        run = self.recipe.run
        if self.start_from_teacher:
            run = dataclasses.replace(run, start_from=str(self.teacher), start_parts="non-expert")
        elif not run.start_from:
            data = dataclasses.replace(data, tokenizer=str(self.teacher))
        return dataclasses.replace(self.recipe, data=data, run=run)

    def check(self) -> Taken | None:
        """Find what would fail later; gives what the student takes over, if it starts from the teacher.

        Raises:
            WorkbenchError: a checkpoint cannot be read or lacks a direction of the recipe, the recipe brings
                another tokenizer, the student does not fit into memory or the teacher's weights, text is missing,
                or the output is a checkpoint or is being written by another process.
        """
        check_free(self.output)
        check_no_checkpoint(self.output)
        for role, path in {TEACHER: self.teacher, **self.others}.items():
            known = read_config(path).directions
            lacking = [task for task in self.recipe.tasks if task not in known]
            if lacking:
                raise WorkbenchError(
                    f"The {role} {path} does not translate {listed(lacking)}, which the recipe"
                    f" {self.recipe.name!r} asks for. It translates: {listed(known)}."
                )
        tokenizer = Tokenizer.load(self.teacher)
        given = self.recipe.run.start_from or self.recipe.data.tokenizer
        if given and not Tokenizer.load(given).same_as(tokenizer):
            raise WorkbenchError(
                f"{given}, from which the recipe starts, has another tokenizer than the teacher"
                f" {self.teacher}: a student writes its teacher's tokens."
            )
        if self.recipe.run.start_from and self.start_from_teacher:
            raise WorkbenchError(
                f"The recipe starts from {given} (run.start_from) and --start-from-teacher from the teacher:"
                " choose one."
            )
        check_training(self.recipe, tokenizer.vocab_size)
        self.test_sets()
        training_text(self.recipe)
        if not self.start_from_teacher:
            return None
        shape = self.recipe.model_config(tokenizer.vocab_size)
        fresh = TranslationNetwork(shape, rngs=nnx.Rngs(self.recipe.run.seed))
        return start_from_non_experts(fresh, Translator.load(self.teacher).network)

    def translate(
        self, progress: Callable[[int, int], None] | None = None
    ) -> dict[str, dict[str, int]]:
        """Phase 1: the teacher translates. Task -> counts, as `write_teacher_text` gives and raises."""
        with held(self.output):
            return write_teacher_text(
                Translator.load(self.teacher),
                training_text(self.recipe),
                self.text,
                beam_size=self.beam_size,
                batch_size=self.batch_size,
                max_length=self.max_length,
                limit=self.limit,
                progress=progress,
            )

    def train(
        self,
        report: Callable[[Progress], None] = lambda progress: None,
        tell: Callable[[str], None] = lambda text: None,
    ) -> Translator:
        """Phase 2: the student learns. As `workbench.training.loop.train`."""
        return train(self.student, self.output, report, tell)

    def compare(
        self, student: Translator, progress: Callable[[int, int], None] | None = None
    ) -> DistillationReport:
        """Phase 3: BLEU of the student, its teacher and the others, greedy or with the beam of phase 1.

        Raises:
            WorkbenchError: a checkpoint or the test set cannot be read.
            KeyboardInterrupt: Ctrl-C or SIGTERM, between two batches.
        """
        with held_interrupts() as check:

            def told(done: int, total: int) -> None:
                check()
                if progress:
                    progress(done, total)

            return self._compare(student, told)

    def _compare(
        self, student: Translator, progress: Callable[[int, int], None]
    ) -> DistillationReport:
        testsets = self.test_sets()
        paths = {TEACHER: self.teacher, **self.others}
        roles = [
            role for role in (STUDENT, TEACHER, BASELINE, TASK_MOE) if role in {STUDENT, *paths}
        ]
        sentences = sum(map(len, testsets))
        bleu: dict[str, dict[str, float]] = {}
        signatures: dict[str, list[str]] = {}
        for number, role in enumerate(roles):
            same = [r for r in bleu if r != STUDENT and paths[r].resolve() == paths[role].resolve()]
            if role != STUDENT and same:  # the teacher may be the task-MoE
                bleu[role] = bleu[same[0]]
                continue

            def told(done: int, _: int, before: int = number * sentences) -> None:
                progress(before + done, sentences * len(roles))

            scores = evaluate(
                student if role == STUDENT else Translator.load(paths[role]),
                testsets,
                ("bleu",),
                self.batch_size,
                self.beam_size,
                self.max_length,
                resamples=0,
                progress=told,
            ).scores
            bleu[role] = {each.task: each.score for each in scores}
            signatures = {}
            for each in scores:
                signatures.setdefault(each.signature, []).append(each.task)
        search = "greedy" if self.beam_size == 1 else f"beam {self.beam_size}"
        # Languages without spaces are split into words in their own way.
        (usual, _), *others = sorted(signatures.items(), key=lambda item: -len(item[1]))
        signed = "; ".join([usual, *(f"{', '.join(tasks)}: {other}" for other, tasks in others)])
        return DistillationReport(
            bleu,
            f"BLEU on {testsets[0].name}, {sentences:,} sentences in all, {search}, {signed}.",
        )

    def test_sets(self) -> list[TestSet]:
        """What phase 3 scores, direction by direction. Raises WorkbenchError as reading it does."""
        tasks, limit = self.recipe.tasks, self.testset_limit
        if self.testset is not None:
            return [load_testset(self.testset, task, limit=limit) for task in tasks]
        pairs = validation_text(self.recipe)
        if limit is not None:
            pairs = pairs.head(limit)
        name = Path(self.recipe.data.valid).name
        return [TestSet(name, task, *map(tuple, pairs.direction(task))) for task in tasks]
