"""The training loop: follows a recipe, writes metrics as it goes, and can be killed and resumed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from flax import nnx

from workbench.config import ModelConfig
from workbench.decoding.programs import enable_compilation_cache
from workbench.decoding.translator import Translator
from workbench.errors import WorkbenchError
from workbench.languages import find_language
from workbench.nn.network import TranslationNetwork
from workbench.text.pairs import Pairs
from workbench.text.tokenizer import Tokenizer
from workbench.training.batches import BatchStream, Direction, Position, tokenise
from workbench.training.best import BestStore, Standing, no_standing, stand
from workbench.training.filtering import Filter
from workbench.training.interrupts import held_interrupts
from workbench.training.lock import check_free, check_no_checkpoint, held
from workbench.training.memory import keep_freed_memory
from workbench.training.mesh import (
    TrainingMesh,
    agreed,
    check_shared,
    is_first,
    is_joined,
    stops_after,
    wait_for_all,
)
from workbench.training.metrics import MetricsLog, Progress
from workbench.training.recipe import Recipe, recipe_table
from workbench.training.recipe_changes import (
    changes,
    check_counts,
    check_goes_on,
    in_words,
    recorded_recipe,
)
from workbench.training.room import SMALLER, check_training
from workbench.training.state import KEPT, StateStore, latest_step
from workbench.training.text import training_text, validation_text
from workbench.training.upcycling import spread_tasks, start_from, start_from_non_experts
from workbench.training.update import Trained, begin, make_optimizer, make_update, pad_rows
from workbench.training.validation import Validator
from workbench.training.vocabulary import lines_by_language, recipe_line_counts, sampled_lines
from workbench.training.watch import LossWatch


class State(NamedTuple):
    """Everything a run needs to go on: the trained arrays, [step, epoch, batch] and how validations stand.

    A negative step is one whose validation was interrupted and is still to come.
    """

    trained: Trained
    progress: np.ndarray
    standing: Standing


def train(
    recipe: Recipe,
    output: str | Path,
    report: Callable[[Progress], None] = lambda progress: None,
    tell: Callable[[str], None] = lambda text: None,
) -> Translator:
    """Train as `recipe` says and give the finished translator; `output` holds the run.

    `output/metrics.jsonl` gets a line at each report, `output/state` the resumable states, `output/best` the
    checkpoint with the best validation BLEU. Called again with the same recipe and directory, the run goes on
    from its newest state, on the batches that would have come next, to the same bits. Of the recipe only what
    `workbench.training.recipe_changes` lists may have changed, and that is recorded.

    report: called with each line of metrics; tell: called with what else a person wants to know.

    Raises:
        WorkbenchError: the recipe, its data or its starting checkpoint cannot be used; the run was begun with
            another recipe, or another process is writing it; the disk is too small or refuses; the loss or its
            gradient is no longer a number.
        KeyboardInterrupt: Ctrl-C, or SIGTERM (`workbench.training.interrupts.Terminated`). The step under way was
            finished and its state saved; called again, the run goes on from there. A second Ctrl-C does not wait
            for that; the state before is intact.
    """
    with ExitStack() as stack:
        return _train(recipe, Path(output), report, tell, stack)


def _train(
    recipe: Recipe,
    output: Path,
    report: Callable[[Progress], None],
    tell: Callable[[str], None],
    stack: ExitStack,
) -> Translator:
    keep_freed_memory()
    enable_compilation_cache()
    check_free(output)
    check_no_checkpoint(output)
    before = _check_recipe(recipe, output)
    check_shared(recipe.run.mesh)
    mesh = TrainingMesh(recipe.run.mesh) if recipe.run.mesh else None
    start = _start(recipe.run.start_from) if recipe.run.start_from else None
    check_training(recipe, start.tokenizer.vocab_size if start else recipe.data.vocabulary)
    text = _read(recipe, start, output)
    tokenizer, config = text.tokenizer, text.config
    if recipe.run.steps <= recipe.objective.warmup_steps:
        tell(
            f"note: the run ends at step {recipe.run.steps:,} (run.steps), while the learning rate still rises"
            f" until step {recipe.objective.warmup_steps:,} (objective.warmup_steps)."
        )
    optimizer = make_optimizer(recipe.objective, recipe.run.steps)
    graph, trained, update = _begin(recipe, config, optimizer, start, mesh)
    state = State(trained, np.zeros(3, np.int64), no_standing())
    if is_first():
        stack.enter_context(held(output))  # only now: what is refused leaves nothing behind
    store = StateStore(output / "state")
    if store.latest is None:
        _check_room(output, state)
    state = store.restore(state) or state
    if mesh is None:
        # However the arrays came to be, as they are after a step: else it would be compiled for both.
        state = state._replace(trained=jax.device_put(state.trained, jax.local_devices()[0]))
    best = BestStore(output / "best")
    state = state._replace(standing=best.checked(state.standing))

    validator = Validator(text.valid, tokenizer, config, recipe)
    signed, *position = (int(n) for n in state.progress)
    step = saved = abs(signed)
    if step:
        tell(f"going on from step {step:,} of {recipe.run.steps:,}.")
    if step and before is not None:
        differs = check_counts(output / _METRICS, before, recipe, text.counts)
        if differs:
            tell(f"note: the text is no longer the one that the run began with: {differs}.")
    metrics = MetricsLog(
        output / _METRICS if is_first() else None,
        step,
        recipe.run.steps,
        report,
        recipe.run.valid_every,
        validated=signed >= 0,
    )
    if step == 0:
        metrics.write(0, {"recipe": recipe_table(recipe), **text.counts})
    elif before is not None and before != recipe:
        tell(f"changed: {in_words(changes(before, recipe))}.")
        metrics.write(step, {"recipe": recipe_table(recipe)})

    def translator() -> Translator:
        weights = state.trained.best_known
        if mesh is not None:
            weights = mesh.gathered(weights)
        return Translator(recipe.name, config, tokenizer, nnx.merge(graph, weights))

    def validate() -> bool:
        """Validate the state; False where Ctrl-C ended it."""
        nonlocal state
        model = translator()
        try:
            # Those that wait for its end could not know that there is none.
            check = (lambda: None) if joined else interrupts
            scores = validator(model.network, check) if is_first() else _NO_SCORES
        except KeyboardInterrupt:
            if interrupts.urgent:
                raise
            return False
        metrics.paused(validated=True)
        metrics.write(step, scores)
        bleu = agreed(scores["valid_bleu"]["average"])
        state = state._replace(standing=stand(state.standing, step, bleu))
        if state.standing[1] == step and is_first():
            best.save(step, model)
        return True

    watch = LossWatch(output, is_first(), lambda: store.latest)
    rows = recipe.objective.accumulate * (mesh.size if mesh else 1)
    batches = _stream(text.directions, config, recipe).batches(Position(*position))
    shapes: set[tuple[int, ...]] = set()
    joined = is_joined()
    with held_interrupts(joined) as interrupts:
        interrupts.at_once = not joined  # until there is something to lose
        stops = signed < 0 and not validate()
        while not stops and step < recipe.run.steps and not _is_stale(state, recipe):
            stops = stops_after(step) if joined else interrupts.noted
            if stops:
                break
            step += 1
            place, batch = next(batches)
            batch = pad_rows(batch, rows, config.pad_id)
            compiles = batch.source.shape not in shapes
            if not shapes:
                tell(_compiling(recipe))
            shapes.add(batch.source.shape)
            laid = batch if mesh is None else mesh.spread(batch)
            with _enough_memory(step):
                trained, parts = update(state.trained, laid, step)
            interrupts.at_once = False
            state = State(trained, np.array([step, *place], np.int64), state.standing)
            metrics.add(parts)
            watch.add(step, parts, batch)
            last = step == recipe.run.steps
            logs, validates, saves = (
                step % every == 0 or last
                for every in (recipe.run.log_every, recipe.run.valid_every, recipe.run.save_every)
            )
            if logs or validates or saves:
                watch.check()
            metrics.stepped(compiles)
            if logs or validates or saves:
                metrics.log(
                    step
                )  # a run that goes on from a state knows nothing of steps before it
            if validates and not validate():
                state = state._replace(progress=np.array([-step, *place], np.int64))
                stops = True
            elif saves or _is_stale(state, recipe):
                watch.check()
                store.save(step, state)
                saved = step
            metrics.paused()
        if stops and step != saved:
            watch.check()
            metrics.log(step)
            store.save(step, state)
        store.close()
        if stops or (interrupts.noted and not joined):
            tell(f"step {step:,} is saved; the same command goes on from there.")
            interrupts.end()
    wait_for_all("end")
    if recipe.run.final == "best":
        return Translator.load(best.path(int(state.standing[1])))
    return translator()


_METRICS = "metrics.jsonl"
#: What a process that leaves validation to the first one has.
_NO_SCORES: dict[str, Any] = {"valid_bleu": {"average": 0.0}}


def _check_recipe(recipe: Recipe, output: Path) -> Recipe | None:
    """The recipe by which the run in `output` was made so far, if that is known and there is a state of it.

    Raises:
        WorkbenchError: the run cannot go on with this one.
    """
    before = recorded_recipe(output / _METRICS)
    step = latest_step(output / "state")
    if step is not None:
        if before is not None:
            check_goes_on(output, before, recipe, step)
        return before
    # Nothing to go on from. A tokenizer of another recipe would be taken for this one's.
    same = before is not None and (before.data, before.run.seed) == (recipe.data, recipe.run.seed)
    if is_first() and not same:
        shutil.rmtree(output / "tokenizer", ignore_errors=True)
    return None


def _start(path: str) -> Translator:
    """The checkpoint that the recipe names as its start.

    Raises:
        WorkbenchError: it cannot be read.
    """
    try:
        return Translator.load(path)
    except WorkbenchError as error:
        where = "A path is looked for from here and from the recipe's directory."
        raise WorkbenchError(
            f"run.start_from: {error}{'' if Path(path).exists() else ' ' + where}"
        ) from error


def _compiling(recipe: Recipe) -> str:
    shapes = len(recipe.data.buckets)
    if shapes == 1:
        return "compiling the first step, which takes a while ..."
    return (
        f"compiling ... (again for each of up to {shapes} lengths of batches when it first comes)"
    )


def _begin(
    recipe: Recipe,
    config: ModelConfig,
    optimizer: optax.GradientTransformation,
    start: Translator | None,
    mesh: TrainingMesh | None,
) -> tuple[Any, Trained, Callable[..., Any]]:
    """The network's structure, the arrays before the first step, and the step."""

    def fresh() -> TranslationNetwork:
        network = TranslationNetwork(config, rngs=nnx.Rngs(recipe.run.seed))
        if recipe.run.task_experts == "even":
            spread_tasks(network)
        return network

    if mesh is None or start:
        network = fresh()
        if start:
            if recipe.run.start_parts == "all":
                start_from(network, start.network, recipe.run.fresh_units)
            else:
                start_from_non_experts(network, start.network)
        graph, parameters = nnx.split(network)
        if mesh is None:
            update = make_update(graph, optimizer, recipe)
            return graph, begin(parameters, optimizer, recipe), update
        parameters = mesh.place(parameters)
    else:
        # Drawn where they belong: no device needs room for all of them.
        network = nnx.eval_shape(fresh)
        graph, shapes = nnx.split(network)
        parameters = jax.jit(lambda: nnx.split(fresh())[1], out_shardings=mesh.shardings(shapes))()
    starting = partial(begin, optimizer=optimizer, recipe=recipe)
    places = mesh.shardings(jax.eval_shape(starting, parameters))
    trained = jax.jit(starting, out_shardings=places)(parameters)
    update = make_update(
        mesh.graph(network), optimizer, recipe, mesh.mesh, (places, mesh.everywhere)
    )
    return graph, trained, update


def _is_stale(state: State, recipe: Recipe) -> bool:
    """Whether validation has not become better for as long as the recipe has patience."""
    return 0 < recipe.run.patience <= state.standing[2]


def _stream(directions: list[Direction], config: ModelConfig, recipe: Recipe) -> BatchStream:
    data = recipe.data
    return BatchStream(
        directions,
        data.buckets,
        data.batch_tokens,
        data.temperature,
        config.pad_id,
        config.eos_id,
        recipe.run.seed,
    )


@contextmanager
def _enough_memory(step: int) -> Iterator[None]:
    """Say what to do where a device runs out of memory.

    Raises:
        WorkbenchError: it does.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise WorkbenchError(f"There is not enough memory for step {step}: {SMALLER}.") from error


def _check_room(output: Path, state: State) -> None:
    """Refuse to begin where the states and the best checkpoint would not fit on the disk.

    Raises:
        WorkbenchError: with what is needed and what is free.
    """
    sizes = [sum(leaf.nbytes for leaf in jax.tree.leaves(part)) for part in state.trained]
    # The states that are kept and the one being written; of the weights alone two best ones and the last.
    needed = (KEPT + 1) * sum(sizes) + 3 * sizes[0]
    free = shutil.disk_usage(output).free
    if free < needed:
        raise WorkbenchError(
            f"The run needs about {needed / 1e6:,.0f} MB in {output}, where {free / 1e6:,.0f} MB are free:"
            " make room or choose another directory."
        )


class _Text(NamedTuple):
    """A run's text, tokenised, and what its first line of metrics says about it."""

    tokenizer: Tokenizer
    config: ModelConfig
    directions: list[Direction]
    valid: Pairs
    counts: dict[str, Any]


def _read(recipe: Recipe, start: Translator | None, output: Path) -> _Text:
    """Reads and tokenises the recipe's text; the lines it trains on are let go of with the return."""
    valid = validation_text(recipe)
    train = training_text(recipe)
    output.mkdir(parents=True, exist_ok=True)
    counts: dict[str, Any] = {}
    if start is not None:
        tokenizer = start.tokenizer
    elif recipe.data.tokenizer:
        tokenizer = Tokenizer.load(recipe.data.tokenizer)
    else:
        languages = [find_language(language).code for language in recipe.data.languages]
        texts = lines_by_language(train, languages)
        counts["tokenizer_lines"] = recipe_line_counts(recipe, texts)
        lines = sampled_lines(texts, counts["tokenizer_lines"], recipe.run.seed)
        tokenizer = _tokenizer(recipe, lines, output)
    lacking = [code for code in recipe.languages if code not in tokenizer.languages]
    if lacking:
        raise WorkbenchError(
            f"The tokenizer of {recipe.run.start_from or recipe.data.tokenizer} has no token for"
            f" {', '.join(lacking)}. It has: {', '.join(tokenizer.languages)}."
        )
    config = recipe.model_config(tokenizer.vocab_size)
    directions = tokenise(train, tokenizer, config, Filter.of(recipe.data))
    tables = {str(direction.task): direction.counts.table() for direction in directions}
    dropped = sum(sum(direction.counts.left_out.values()) for direction in directions)
    counts |= {"dropped_pairs": dropped, "pairs": tables}
    return _Text(tokenizer, config, directions, valid, counts)


def _tokenizer(recipe: Recipe, lines: Iterable[str], output: Path) -> Tokenizer:
    """The run's tokenizer, trained once on `lines` and kept beside its states."""
    kept = output / "tokenizer"
    if not kept.exists() and is_first():
        trained = Tokenizer.train(lines, recipe.data.vocabulary, recipe.languages)
        trained.save(output / "tokenizer.partial")
        (output / "tokenizer.partial").rename(kept)
    wait_for_all("tokenizer")
    return Tokenizer.load(kept)
