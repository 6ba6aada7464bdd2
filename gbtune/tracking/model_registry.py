"""Log a tuned model to MLflow and register it.

MLflow's own flavours cannot serve categorical columns (categories arrive as text and the booster
refuses them), and its ``log_model`` works on the caller's active run. So the artifact is built here from public
parts: the booster's native file, the encoding as JSON, and `model_script` as its loader. It holds no
pickle, and loading it needs no gbtune.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gbtune import ensemble, families
from gbtune.errors import InvalidArgument
from gbtune.records import ModelBundle
from gbtune.tracking import model_script
from gbtune.tracking.artifacts import json_text
from gbtune.tracking.projection import param_text
from gbtune.tracking.store import Store

CHAMPION, DECISION = "champion", "gbtune.promotion"
"""An alias; a tag of versions: see `gbtune.tracking.champions`."""
BUILT_IN = ("xgboost", "lightgbm")
"""Families that `model_script` loads by itself."""


def check_model_name(name: str | None) -> None:
    """Raise `InvalidArgument` if the registry would refuse this name of a model.

    Examples
    --------
    >>> from gbtune.tracking.model_registry import check_model_name
    >>> check_model_name("churn")
    >>> check_model_name("churn/v1")
    Traceback (most recent call last):
    gbtune.errors.InvalidArgument: register must be a model name without '/' and ':'; got 'churn/v1'.
    """
    if name is not None and (not isinstance(name, str) or not name.strip() or "/" in name or ":" in name):
        raise InvalidArgument(f"register must be a model name without '/' and ':'; got {name!r}.")


def recipe_digest(bundle: ModelBundle) -> str:
    """Return a hash of the recipe: equal for models that are fitted in the same way."""
    return hashlib.sha256(json_text(dict(bundle.recipe)).encode()).hexdigest()[:16]


def log_model(
    store: Store, bundle: ModelBundle, *, name: str, experiment_id: str, run_id: str, tags: Mapping[str, str]
) -> str:
    """Log the model as an output of a run and return its id.

    Parameters
    ----------
    store : Store
        Where to.
    bundle : ModelBundle
        The model.
    name : str
        For people.
    experiment_id, run_id : str
        The run it comes from. If that run has a finished model already, its id is returned.
    tags : mapping of str to str
        Tags of the model.
    """
    from mlflow.entities import LoggedModelOutput

    model_id = _ready_model(store, experiment_id, run_id)
    if model_id is not None:
        return model_id
    model = store.client.create_logged_model(
        experiment_id,
        name=re.sub(r"[^\w\- ]", "-", name) or "model",
        source_run_id=run_id,
        tags=dict(tags),
        params={key: param_text(value) for key, value in bundle.recipe.get("params", {}).items()},
        model_type=f"gbtune {bundle.task}",
    )
    try:
        with tempfile.TemporaryDirectory(prefix="gbtune-model-") as folder:
            path = Path(folder) / "model"
            save_pyfunc(bundle, path, model=model, run_id=run_id)
            store.client.log_model_artifacts(model.model_id, str(path))
    except BaseException:
        with contextlib.suppress(Exception):  # the next attempt removes it
            store.client.finalize_logged_model(model.model_id, "FAILED")
        raise
    store.client.finalize_logged_model(model.model_id, "READY")
    store.client.log_outputs(run_id, [LoggedModelOutput(model.model_id, 0)])
    return str(model.model_id)


def _ready_model(store: Store, experiment_id: str, run_id: str) -> str | None:
    """Return the finished model of a run, attached to it; remove what earlier attempts left half-written."""
    from mlflow.entities import LoggedModelOutput

    where = f"source_run_id = '{run_id}'"
    found = sorted(
        store.client.search_logged_models([experiment_id], filter_string=where),
        key=lambda model: (model.creation_timestamp, model.model_id),
    )
    ready = [model.model_id for model in found if str(model.status) == "READY"]
    for model in found:
        if model.model_id not in ready[:1]:
            store.client.delete_logged_model(model.model_id)
    if not ready:
        return None
    outputs = store.client.get_run(run_id).outputs
    if ready[0] not in {output.model_id for output in (outputs.model_outputs if outputs else None) or []}:
        store.client.log_outputs(run_id, [LoggedModelOutput(ready[0], 0)])
    return str(ready[0])


def save_pyfunc(bundle: ModelBundle, path: Path, *, model: Any = None, run_id: str | None = None) -> None:
    """Write an MLflow model folder that ``mlflow.pyfunc.load_model`` reads.

    Parameters
    ----------
    bundle : ModelBundle
        The model.
    path : pathlib.Path
        A folder that does not exist yet.
    model : mlflow.entities.LoggedModel, optional
        The entry in a store that the folder will belong to.
    run_id : str, optional
        The run it comes from.
    """
    import mlflow.models
    import mlflow.pyfunc

    details = {} if model is None else {"model_id": model.model_id, "model_uuid": model.model_id}
    if model is not None:
        details |= {"artifact_path": model.artifact_location, "run_id": run_id}
    with tempfile.TemporaryDirectory(prefix="gbtune-model-") as folder:
        data, script, nothing = Path(folder) / "model", _copy_script(Path(folder)), Path(folder) / "nothing"
        data.mkdir()
        nothing.mkdir()
        write_data(bundle, data)
        mlflow.pyfunc.save_model(
            str(path),
            loader_module=script.stem,
            code_paths=[str(script)],
            data_path=str(data),
            mlflow_model=mlflow.models.Model(**details),
            signature=signature(bundle),
            input_example=_example(bundle),
            pip_requirements=_requirements(bundle),
            uv_project_path=nothing,  # otherwise the caller's pyproject.toml and uv.lock travel with the model
            metadata={"gbtune": _about(bundle)},
        )


def import_what_saving_needs() -> None:
    """Do early what the first `save_pyfunc` of a process would take a second for."""
    importlib.import_module("mlflow.pyfunc")
    importlib.import_module("pyarrow.parquet")  # for the spool
    from mlflow.utils.requirements_utils import warn_dependency_requirement_mismatches

    warn_dependency_requirement_mismatches(["mlflow"])  # MLflow then knows which package has which module


def signature(bundle: ModelBundle) -> Any:
    """Return the model's signature.

    Columns accept any type: MLflow's typed columns refuse integers where training had missing values, and
    missing values where training had integers. The parameter ``proba`` asks for probabilities.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import AnyType

    schema = bundle.columns
    inputs = None
    if not schema["sparse"]:
        names = [column["name"] if schema["named"] else None for column in schema["columns"]]
        inputs = Schema([ColSpec(AnyType(), name) for name in names])
    params = None if bundle.task == "regression" else ParamSchema([ParamSpec("proba", "boolean", False)])
    return ModelSignature(inputs=inputs, outputs=Schema([ColSpec(AnyType())]), params=params)


def versions_of(store: Store, name: str) -> list[Any]:
    """Return all versions of a registered model, the oldest first; none if there is no such model."""
    quote = '"' if "'" in name else "'"
    found: list[Any] = []
    token = None
    while True:
        page = store.client.search_model_versions(f"name = {quote}{name}{quote}", max_results=1000, page_token=token)
        found.extend(page)
        token = page.token
        if not token:
            return sorted(found, key=lambda version: int(version.version))


def register_model(
    store: Store,
    name: str,
    *,
    model_id: str,
    run_id: str,
    tags: Mapping[str, str],
    describe: Callable[[str], str],
    promote: bool = True,
) -> str:
    """Register a logged model as a new version and return the version.

    Its description is `describe` of the version. It gets the alias ``challenger``; if the name has no ``champion`` yet
    and `promote` is true, that too. Registering the same logged model again returns its version.
    """
    from mlflow.exceptions import MlflowException

    client = store.client
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    known = [version for version in versions_of(store, name) if version.tags.get("gbtune.model_id") == model_id]
    for later in known[1:]:  # from a request that a hung server carried out after all
        client.delete_model_version(name, later.version)
    if known:
        registered = known[0]
    else:
        # A SQL registry resolves models:/<id> with the global tracking URI, which is the caller's: give it the place.
        source = f"models:/{model_id}" if store.is_http else client.get_logged_model(model_id).artifact_location
        registered = client.create_model_version(
            name,
            source,
            run_id=run_id,
            tags={**tags, "gbtune.model_id": model_id},
            model_id=model_id,
            await_creation_for=10,
        )
    if not registered.description:  # a second attempt finds it, with what became of its promotion
        client.update_model_version(name, registered.version, describe(str(registered.version)))
    client.set_registered_model_alias(name, "challenger", registered.version)
    if promote and CHAMPION not in client.get_registered_model(name).aliases:
        client.set_registered_model_alias(name, CHAMPION, registered.version)
        client.set_model_version_tag(
            name,
            registered.version,
            f"{DECISION}.words",
            f"version {registered.version} of {name!r} is champion: there was no champion",
        )
        client.set_model_version_tag(name, registered.version, DECISION, "promoted")
    _link_version(client, model_id, name, str(registered.version))
    return str(registered.version)


def _link_version(client: Any, model_id: str, name: str, version: str) -> None:
    """Show the version on the model's page; MLflow itself does so only in its fluent call and on some servers."""
    key = "mlflow.modelVersions"
    known = json.loads(client.get_logged_model(model_id).tags.get(key, "[]"))
    if not any(entry["name"] == name and str(entry["version"]) == version for entry in known):
        client.set_logged_model_tags(model_id, {key: json.dumps([*known, {"name": name, "version": version}])})


def _copy_script(folder: Path) -> Path:
    """Copy the loader under a name that tells versions apart: models of two versions can live in one process."""
    source = Path(model_script.__file__)
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:8]
    return Path(shutil.copyfile(source, folder / f"gbtune_model_{digest}.py"))


@dataclasses.dataclass(frozen=True)
class ModelFiles:
    """A fitted model as the bytes of its native files: in a bundle it takes the place of the estimator.

    So a model goes to another process that writes it, and need not import the library for it.
    """

    contents: Mapping[str, bytes]

    @classmethod
    def of(cls, bundle: ModelBundle) -> ModelFiles:
        """Return the files of a bundle's estimator."""
        with tempfile.TemporaryDirectory(prefix="gbtune-model-") as folder:
            names = ensemble.save(families.get(bundle.family), bundle.estimator, Path(folder))
            return cls({name: (Path(folder) / name).read_bytes() for name in names})

    def save(self, folder: Path) -> list[str]:
        """Write the files; return their names as `gbtune.ensemble.save` does."""
        for name, content in self.contents.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)
        return list(self.contents)


def write_data(bundle: ModelBundle, folder: Path) -> None:
    """Write what `model_script` reads: the native model file, the columns, the recipe."""
    files = bundle.estimator if isinstance(bundle.estimator, ModelFiles) else ModelFiles.of(bundle)
    native = folder / "native"  # a folder of its own: a family may call its file model.json too
    native.mkdir()
    model = {
        "family": bundle.family,
        "files": [f"native/{name}" for name in files.save(native)],
        "task": bundle.task,
        "classes": _classes(bundle),
    }
    for name, value in {"model": model, "schema": bundle.columns, "recipe": bundle.recipe}.items():
        (folder / f"{name}.json").write_text(json_text(dict(value)), encoding="utf-8")


def _classes(bundle: ModelBundle) -> list[Any]:
    return [label.item() if hasattr(label, "item") else label for label in bundle.classes]


def _about(bundle: ModelBundle) -> dict[str, Any]:
    """Return what the artifact says of itself; ``version`` is that of the gbtune that wrote it."""
    return {
        "family": bundle.family,
        "task": bundle.task,
        "classes": _classes(bundle),
        "version": version("gbtune"),
        "needs": _requirements(bundle),
        "needs_gbtune": bundle.family not in BUILT_IN,
    }


def _requirements(bundle: ModelBundle) -> list[str]:
    given = list(bundle.requirements)
    names = {re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower() for requirement in given}
    if "mlflow" not in names:
        given.append(f"mlflow=={version('mlflow')}")
    if bundle.family not in BUILT_IN and "gbtune" not in names:
        given.append(f"gbtune=={version('gbtune')}")
    return given


def _example(bundle: ModelBundle) -> Any:
    """Return the example rows in types that JSON keeps."""
    example = bundle.example
    if example is None or not hasattr(example, "dtypes"):
        return example
    example = example.copy()
    for position, dtype in enumerate(example.dtypes):
        if str(dtype) == "category":
            column = example.columns[position]
            example[column] = example[column].astype(object)
    return example
