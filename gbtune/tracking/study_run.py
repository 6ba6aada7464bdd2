"""One study in one MLflow store: its run, the runs of its trials, its files, its model.

Every function here may fail half-way and be called again: runs are found by the tag of their key,
and what is written twice is equal.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from gbtune.locations import public_uri
from gbtune.recipe import members_of
from gbtune.records import StudyOutcome, StudyRecord, TrialRecord
from gbtune.tracking import model_registry
from gbtune.tracking.artifacts import LOGGED_TABLES, dataset_input, write_artifacts
from gbtune.tracking.note import loading_note, model_note, study_note
from gbtune.tracking.projection import (
    IN_RECIPE,
    Projection,
    best_so_far,
    model_tags,
    project_params,
    project_study,
    project_trial,
    safe_key,
    scalar_points,
    trial_uid,
)
from gbtune.tracking.store import Store
from gbtune.tracking.view import run_page, view_key, view_text
from gbtune.tracking.worker import beat, is_simultaneous

PROGRESS_EVERY = 5.0
"""Seconds between two updates of the study's best score."""
MAX_DESCRIPTION = 5000
"""Characters of a version's description that every MLflow store takes."""
BEST_COLOUR = "#1b9e77"
TOP = 20
"""Complete trials with runs of their own when the detail is "top"."""
Detail = Literal["all", "top", "summary"]
VIEW = "gbtune.view"
"""Tag of a study's run: the key of its view, once that is written."""
MODEL_URI = "gbtune.model_uri"

_CONTEXT_TAGS = ("mlflow.user", "mlflow.source.name", "mlflow.source.type", "mlflow.source.git.commit")


class StudyRun:
    """Projects one study; used by the worker's thread only.

    Parameters
    ----------
    store : Store
        Where to.
    experiment : str
        Name of the experiment.
    study : StudyRecord
        The study.
    register : str or None
        Name in the model registry, where the study's outcome gives none.
    detail : {"all", "top", "summary"}
        Which trials get runs of their own; a study that is there already keeps to its rule.
    context : mapping of str to str, optional
        Who and what runs the study, as tags. Default: who and what runs this process.
    on_context : callable, optional
        Told the context in use.
    """

    def __init__(
        self,
        store: Store,
        experiment: str,
        study: StudyRecord,
        register: str | None = None,
        *,
        detail: Detail = "all",
        context: Mapping[str, str] | None = None,
        on_context: Callable[[dict[str, str]], None] | None = None,
    ) -> None:
        self.store = store
        self.experiment = experiment
        self.study = study
        self.register = register
        self.run_id: str | None = None
        self.experiment_id = ""
        self.model_uri: str | None = None
        self.detail: Detail = detail
        self._has_view = False
        self._before: dict[str, str] = {}  # tags of the study's run when this process found it
        self._is_new = False
        self._runs: dict[str, tuple[str, str]] = {}  # key of a trial -> run id, status
        self._unsure: set[str] = set()  # create_run was called and not answered
        self._doubt = False  # there may be two runs of one key
        self._starts = 0
        self._told: dict[int, TrialRecord] = {}
        self._shown: set[int] = set()  # trials whose best-so-far is written
        self._next_progress = 0.0
        self._context = dict(context or {})
        self._on_context = on_context

    @property
    def url(self) -> str | None:
        """The link to the study's view, else to its run, once there is one; without a server, the command for it."""
        if self.run_id is None:
            return None
        viewed = self.store.view_url(self.study, self.experiment_id) if self._has_view else None
        link = viewed or self.store.run_url(self.experiment_id, self.run_id)
        return link or self.store.ui_command(self.study.name or self.run_id)

    def start(self) -> None:
        """Create the study's run, or find it when the study is resumed."""
        if self.run_id is not None:
            return
        self._starts += 1
        self._doubt = self._doubt or self._starts > 1
        projection = project_study(self.study)
        if not self._context:
            self._context = _context_tags()
            if self._on_context is not None:
                self._on_context(self._context)
        self.experiment_id = self.store.experiment_id(self.experiment)
        key = {"gbtune.study_uid": self.study.uid, "gbtune.kind": "study"}
        found = self.store.search(self.experiment_id, key)
        if not found:
            tags = {**self._context, **projection.tags, "gbtune.detail": self.detail}
            created = self._create(projection, tags)
            # another process may have been as fast: both then take the same run
            found = self.store.search(self.experiment_id, key) or [self.store.client.get_run(created)]
            self._is_new = len(found) == 1
        run = min(found, key=_precedence)
        run_id = run.info.run_id
        if run.info.status == "RUNNING":
            self.store.terminate(run_id, projection.status, projection.end)
        self._keep_to_rule(run.data.tags.get("gbtune.detail", "all"))
        params = {k: v for k, v in projection.params.items() if k not in run.data.params}
        self._before = dict(run.data.tags)
        self._has_view = VIEW in self._before or self._write_view()
        tags = {**projection.tags, "gbtune.state": "running", **self._view_tag()}
        self.store.log(run_id, params=params, tags=tags)
        try:
            self.store.client.log_inputs(run_id, [dataset_input(self.study)])
        except Exception as error:
            if not is_simultaneous(error):
                raise
            self.store.client.log_inputs(run_id, [dataset_input(self.study)])
        runs = {} if self._is_new else self._find_trials()
        beat()
        self._runs, self.run_id = runs, run_id

    def _write_view(self, outcome: StudyOutcome | None = None) -> bool:
        """Write how MLflow's UI shows the trials; with the outcome, by what mattered."""
        if self.detail == "summary":
            return False
        text = view_text(self.study, outcome.trials, outcome.importances) if outcome else view_text(self.study)
        return self.store.write_view(self.study, text, self.experiment_id)

    def _view_tag(self) -> dict[str, str]:
        return {VIEW: view_key(self.study)} if self._has_view else {}

    def _keep_to_rule(self, rule: str) -> None:
        if rule in ("all", "top", "summary"):
            self.detail = rule  # type: ignore[assignment]

    def warm_up(self) -> None:
        """Import what the end of the study will need, while nobody waits for it."""
        if self.run_id is not None:
            model_registry.import_what_saving_needs()

    def write_trial(self, trial: TrialRecord) -> None:
        """Write a finished trial as a run of its own."""
        self.start()
        self._told[trial.number] = trial
        if self.detail == "all":
            self._write_child(trial_uid(self.study, trial.number), project_trial(self.study, trial))
        if time.monotonic() >= self._next_progress:
            self.write_progress()
            self._next_progress = time.monotonic() + PROGRESS_EVERY

    def write_progress(self) -> None:
        """Write the best score after each trial, as far as all earlier trials are known."""
        known = 0
        while known in self._told:
            known += 1
        self._write_best([self._told[number] for number in range(known)])

    def write_untold(self, outcome: StudyOutcome, *, thorough: bool = False) -> None:
        """Write the runs that are missing: trials of earlier and other processes, the best trials.

        Parameters
        ----------
        outcome : StudyOutcome
            How the study ended.
        thorough : bool, default False
            Look for runs that are there twice, even if nothing hints at any.
        """
        self.start()
        wanted = self._wanted(outcome)
        others = any(trial.number not in self._told for trial in outcome.trials if trial.state != "running")
        if thorough or others or self._doubt or not self._is_new:
            # Trials that the outcome does not know are another process's: their runs stay.
            known = {trial.number for trial in outcome.trials if trial.state != "running"}
            unwanted = known - {trial.number for trial in wanted}
            self._reconcile({trial_uid(self.study, number) for number in unwanted})
        for trial in wanted:
            if not self._is_written(trial):
                self._write_child(trial_uid(self.study, trial.number), project_trial(self.study, trial))

    def _wanted(self, outcome: StudyOutcome) -> list[TrialRecord]:
        """Return the trials that get a run of their own."""
        finished = [trial for trial in outcome.trials if trial.state != "running"]
        if self.detail == "all":
            return finished
        if self.detail == "summary":
            return []
        sign = -1.0 if self.study.direction == "maximize" else 1.0
        scored = [(sign * t.score, t.number) for t in finished if t.state == "complete" and t.score is not None]
        best = {number for _, number in sorted(scored)[:TOP]}
        return [t for t in finished if t.number in best or (t.kind == "baseline" and t.state == "complete")]

    def _reconcile(self, unwanted: set[str]) -> None:
        """Keep one run per key, and none of the trials that the rule does not want; delete the others.

        A server that hung may have carried out what was given up and done again.
        """
        found = self.store.search(self.experiment_id, {"gbtune.study_uid": self.study.uid})
        groups: dict[str, list[Any]] = {}
        for run in sorted(found, key=_precedence):
            groups.setdefault(run.data.tags.get("gbtune.trial_uid", ""), []).append(run)
        parent, *_ = groups.pop("", []) or [None]
        if parent is not None and parent.info.run_id != self.run_id:
            self.run_id, self._shown = parent.info.run_id, set()
        runs = {}
        for key, (kept, *_) in groups.items():
            if key not in unwanted:
                runs[key] = (kept.info.run_id, kept.info.status)
                if kept.data.tags.get("mlflow.parentRunId") != self._id():
                    self.store.log(kept.info.run_id, tags={"mlflow.parentRunId": self._id()})
        keep = {self._id(), *(run_id for run_id, _ in runs.values())}
        for run in found:
            if run.info.run_id not in keep:
                self.store.client.delete_run(run.info.run_id)
        beat()
        self._runs = runs

    def write_results(self, outcome: StudyOutcome) -> None:
        """Write all that the study's run shows."""
        self.start()
        self._write_best([trial for trial in outcome.trials if trial.state != "running"])
        run_id = self._id()
        gain = {"baseline": outcome.baseline_score, "gain": outcome.gain, "gain_se": outcome.gain_se}
        self._has_view = self._write_view(outcome) or self._has_view
        tags = {
            "gbtune.state": outcome.state,
            "mlflow.note.content": self._note(outcome),
            "mlflow.loggedArtifacts": LOGGED_TABLES,
            **self._view_tag(),
        }
        if outcome.best is not None:
            tags["gbtune.best_trial"] = str(outcome.best.number)
        self.store.log(run_id, scalar_points(gain, outcome.ended_at), tags={k: v for k, v in tags.items() if v})
        self.store.terminate(run_id, "FAILED" if outcome.state == "failed" else "FINISHED", outcome.ended_at)
        if outcome.best is not None:
            self._mark_best(outcome.best)

    def _note(self, outcome: StudyOutcome) -> str:
        """Return the note. A model that an earlier process logged counts as long as the best trial is the same."""
        best = str(outcome.best.number) if outcome.best else None
        logged = self._before.get(MODEL_URI) if self._before.get("gbtune.best_trial") == best else None
        return study_note(
            self.study,
            outcome.summary,
            experiment_id=self.experiment_id,
            run_id=self._id(),
            has_view=self._has_view,
            has_report=bool(outcome.report_html),
            tracking_uri=public_uri(self.store.uri),
            model_uri=self.model_uri or logged,
        )

    def write_files(self, outcome: StudyOutcome) -> None:
        """Write the trial table, the parameters, the space and the report."""
        self.start()
        ids = {t.number: self._runs.get(trial_uid(self.study, t.number), ("", ""))[0] for t in outcome.trials}
        with tempfile.TemporaryDirectory(prefix="gbtune-files-") as folder:
            # one by one: some artifact stores upload a folder with a thread pool, which a closing process refuses
            for path in write_artifacts(Path(folder), self.study, outcome, ids):
                self.store.client.log_artifact(self._id(), str(path))

    def write_model(self, outcome: StudyOutcome) -> None:
        """Log the model from a run `final`, attach it to the study's run, register it."""
        from mlflow.entities import LoggedModelOutput

        bundle, register = outcome.model, outcome.register or self.register
        assert bundle is not None
        self.start()
        digest = model_registry.recipe_digest(bundle)
        metric = safe_key(self.study.metric)
        best = {metric: outcome.best.score if outcome.best else None}
        best |= {"baseline": outcome.baseline_score, "gain": outcome.gain, "gain_se": outcome.gain_se}
        points = scalar_points(best, outcome.ended_at)
        study_page = run_page(self.experiment_id, self._id())
        tags_of_model = model_tags(self.study, self._id(), digest, points)
        if len(models := members_of(bundle.recipe)) > 1:
            tags_of_model["gbtune.mean_of"] = f"{len(models)} models"
        params, tags = project_params(self.study, outcome.best_params)
        tags |= {"mlflow.runName": "final", "gbtune.kind": "final", **tags_of_model}
        final = Projection(
            name="final",
            status="FINISHED",
            start=outcome.ended_at,
            end=outcome.ended_at,
            tags={**tags, "gbtune.trial_uid": f"{self.study.uid}:final:{digest}"},
            params=params,
            points=points,
        )
        run_id = self._write_child(final.tags["gbtune.trial_uid"], final)
        model_id = model_registry.log_model(
            self.store,
            bundle,
            name=register or f"{bundle.family}-{bundle.task}",
            experiment_id=self.experiment_id,
            run_id=run_id,
            tags={**tags_of_model, "mlflow.note.content": model_note(outcome.summary, where=study_page)},
        )
        self.store.log(run_id, points, model_id=model_id)
        outputs = self.store.client.get_run(self._id()).outputs
        if model_id not in {output.model_id for output in (outputs.model_outputs if outputs else None) or []}:
            self.store.client.log_outputs(self._id(), [LoggedModelOutput(model_id, 0)])
        self.model_uri = f"models:/{model_id}"
        if register is not None:
            version = model_registry.register_model(
                self.store,
                register,
                model_id=model_id,
                run_id=run_id,
                tags={key: value for key, value in tags_of_model.items() if key not in IN_RECIPE},
                describe=lambda version: model_note(
                    outcome.summary,
                    loading_note(f"models:/{register}/{version}", public_uri(self.store.uri), self.study.classes),
                    study_page,
                    limit=MAX_DESCRIPTION,
                ),
                promote=outcome.promote,
            )
            self.model_uri = f"models:/{register}/{version}"
        self.store.log(self._id(), tags={MODEL_URI: self.model_uri, "mlflow.note.content": self._note(outcome)})

    def _id(self) -> str:
        assert self.run_id is not None, "start() comes first"
        return self.run_id

    def _is_written(self, trial: TrialRecord) -> bool:
        run = self._runs.get(trial_uid(self.study, trial.number))
        return run is not None and run[1] != "RUNNING"

    def _write_child(self, key: str, projection: Projection) -> str:
        """Three calls: create with true start and all tags, one batch, terminate with true end."""
        run_id, status = self._runs.get(key, ("", ""))
        if not run_id and key in self._unsure:
            self._doubt = True
            found = sorted(self.store.search(self.experiment_id, {"gbtune.trial_uid": key}), key=_precedence)
            run_id, status = (found[0].info.run_id, found[0].info.status) if found else ("", "")
        if status and status != "RUNNING":
            return run_id
        if not run_id:
            self._unsure.add(key)
            context = {k: v for k, v in self._context.items() if k != "mlflow.source.git.commit"}
            run_id = self._create(projection, {**context, **projection.tags, "mlflow.parentRunId": self._id()})
            self._runs[key] = (run_id, "RUNNING")
        self.store.log(run_id, projection.points, projection.params)
        self.store.terminate(run_id, projection.status, projection.end)
        beat()
        self._runs[key] = (run_id, projection.status)
        self._unsure.discard(key)
        return run_id

    def _create(self, projection: Projection, tags: dict[str, str]) -> str:
        run = self.store.client.create_run(
            self.experiment_id, start_time=projection.start, tags=tags, run_name=projection.name
        )
        beat()
        if projection.tags["gbtune.kind"] == "study":
            self.store.terminate(run.info.run_id, projection.status, projection.end)
        return str(run.info.run_id)

    def _find_trials(self) -> dict[str, tuple[str, str]]:
        runs = self.store.search(self.experiment_id, {"gbtune.study_uid": self.study.uid})
        keyed = [(run.data.tags.get("gbtune.trial_uid"), run.info) for run in sorted(runs, key=_precedence)]
        return {key: (info.run_id, info.status) for key, info in reversed(keyed) if key}

    def _write_best(self, trials: Iterable[TrialRecord]) -> None:
        points = [p for p in best_so_far(self.study, trials) if p.step not in self._shown]
        if points:
            self.store.log(self._id(), points)
            self._shown |= {point.step for point in points}

    def _mark_best(self, best: TrialRecord) -> None:
        """Colour the best trial's run; unmark the one that an earlier part of the study had marked."""
        key = trial_uid(self.study, best.number)
        before = self.store.search(self.experiment_id, {"gbtune.study_uid": self.study.uid, "gbtune.best": "true"})
        for run in before:
            if run.data.tags.get("gbtune.trial_uid") != key:
                self.store.log(run.info.run_id, tags={"gbtune.best": "false"})
                self.store.client.delete_tag(run.info.run_id, "mlflow.runColor")
        if self.detail != "summary":
            run_id = self._write_child(key, project_trial(self.study, best))
            self.store.log(run_id, tags={"gbtune.best": "true", "mlflow.runColor": BEST_COLOUR})


def _precedence(run: Any) -> tuple[int, bool, str]:
    """Of two runs with one key, the smaller one is kept: the oldest, then one that was finished."""
    return run.info.start_time, run.info.status == "RUNNING", run.info.run_id


def _context_tags() -> dict[str, str]:
    """Return who and what runs this, as MLflow's own runs say it."""
    try:
        from mlflow.tracking.context.registry import resolve_tags

        tags: dict[str, Any] = resolve_tags()
    except Exception:  # decoration only, from plug-ins that may do anything
        return {}
    return {key: str(tags[key]) for key in _CONTEXT_TAGS if tags.get(key)}
