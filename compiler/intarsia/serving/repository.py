"""The models that a server has: loaded, replaced and unloaded while requests go on.

A model is made whole before it takes the place of another: loaded, its test vectors run, its pace measured. Requests
that have the other one keep it, and it is closed when the last of them is answered. What cannot be loaded changes
nothing but what the index says.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from intarsia.errors import IntarsiaError, RunError
from intarsia.runtime.session import load
from intarsia.serving.endpoint import Endpoint
from intarsia.serving.ensemble import Ensemble
from intarsia.serving.ensemble_file import Description
from intarsia.serving.metrics import Metrics
from intarsia.serving.model import Options, ServedModel
from intarsia.serving.model_settings import ModelSettings
from intarsia.serving.refusal import Outcome, Refusal, quoted
from intarsia.serving.response_cache import ResponseCache
from intarsia.serving.sources import Source, Stamp, find_sources

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Live:
    """The versions of one model that are served; never changed, but replaced.

    versions  by number
    usual     the number of the one that answers who names none
    aliases   other names of versions
    stamps    of the files of each version, when they were read
    """

    versions: Mapping[str, Endpoint]
    usual: str
    aliases: Mapping[str, str]
    stamps: Mapping[str, Stamp]

    def find(self, version: str) -> Endpoint | None:
        """The version of a number or an alias; the usual one for ""."""
        return self.versions.get(self.aliases.get(version, version) if version else self.usual)

    @property
    def ensemble(self) -> Ensemble | None:
        """The ensemble that it is, None where it is none."""
        found = self.versions[self.usual]
        return found if isinstance(found, Ensemble) else None


@dataclass
class Record:
    """What is known of a model, served or not.

    holders  who wants it loaded: clients by the names that they give, ensembles by theirs
    reason   why it is not as its owner wants it, "" where it is
    loading  whether it is being loaded
    """

    source: Source
    holders: set[str] = field(default_factory=set)
    reason: str = ""
    loading: bool = False


class Repository:
    """All models. Every method may be called from any thread; loading and unloading go on one at a time.

    paths     as `find_sources` takes them
    options   how models are loaded and run
    changing  whether models come and go: a folder may then be empty, and is looked at again
    cache     of answers, None for none
    """

    def __init__(
        self,
        paths: Sequence[str],
        options: Options,
        metrics: Metrics,
        *,
        changing: bool = False,
        cache: ResponseCache | None = None,
    ) -> None:
        self._paths, self._options, self._metrics = tuple(paths), options, metrics
        self._changing, self._cache = changing, cache
        self._control = threading.RLock()
        self._live: dict[str, Live] = {}
        self._records: dict[str, Record] = {}
        self._retired: list[Endpoint] = []
        self._draining = False
        if cache is not None:
            metrics.watch_cache(lambda: cache.bytes)

    # ---- for requests

    def find(self, name: str, version: str = "") -> Endpoint:
        """The model, for a look at it; a Refusal where there is none."""
        live = self._live.get(name)
        if live is None:
            if name in self._records:
                raise Refusal(Outcome.UNKNOWN, f"model '{name}' is not loaded")
            raise Refusal(Outcome.UNKNOWN, f"no model is called {quoted(name)}")
        endpoint = live.find(version)
        if endpoint is None:
            there = ", ".join((*live.versions, *live.aliases))
            raise Refusal(Outcome.UNKNOWN, f"model '{name}' has no version {quoted(version)}, it has {there}")
        return endpoint

    def take(self, name: str, version: str = "") -> Endpoint:
        """The model for one request, until it is released; a Refusal where there is none, or the server ends."""
        if self._draining:
            raise Refusal(Outcome.DRAINING, "the server is shutting down", 1)
        return self._take(name, version)

    def _take(self, name: str, version: str) -> Endpoint:
        while True:
            endpoint = self.find(name, version)
            if endpoint.take():
                return endpoint

    def is_ready(self, name: str, version: str = "") -> bool:
        """Whether a model takes requests; a Refusal for one that nobody knows of."""
        if name in self._records and name not in self._live:
            return False
        return self.find(name, version).ready and not self._draining

    def metadata(self, name: str, version: str = "") -> dict[str, Any]:
        """As the protocol describes a model, with all versions that are served."""
        endpoint, live = self.find(name, version), self._live.get(name)
        return {**endpoint.metadata, "versions": [endpoint.version] if live is None else list(live.versions)}

    def statistics(self, name: str = "", version: str = "") -> list[dict[str, Any]]:
        """What models have done: all, or the versions of one, or one version."""
        if not name:
            found = [endpoint for live in list(self._live.values()) for endpoint in live.versions.values()]
        else:
            endpoint, named = self.find(name, version), self._live.get(name)
            found = [endpoint] if version or named is None else list(named.versions.values())
        return [endpoint.statistics.told(endpoint.name, endpoint.version) for endpoint in found]

    def index(self, ready_only: bool = False) -> list[dict[str, str]]:
        """All models and versions: READY, LOADING or UNAVAILABLE, and why they are not as they should be."""
        listed: list[dict[str, str]] = []
        for name, record in sorted(self._records.items()):
            live = self._live.get(name)
            if live is not None:
                for version, endpoint in live.versions.items():
                    state = "READY" if endpoint.ready and not self._draining else "UNAVAILABLE"
                    listed.append({"name": name, "version": version, "state": state, "reason": record.reason})
            elif not ready_only:
                state = "LOADING" if record.loading else "UNAVAILABLE"
                reason = record.reason or ("" if record.loading else "unloaded")
                listed.append({"name": name, "version": "", "state": state, "reason": reason})
        return [item for item in listed if item["state"] == "READY"] if ready_only else listed

    @property
    def names(self) -> tuple[str, ...]:
        """Of the models that are served."""
        return tuple(self._live)

    @property
    def ready(self) -> bool:
        """Whether every model that is served takes requests."""
        return not self._draining and all(
            endpoint.ready for live in list(self._live.values()) for endpoint in live.versions.values()
        )

    # ---- loading and unloading

    def open(self, *, all_of_them: bool = True) -> None:
        """Load what there is.

        all_of_them  whether one that cannot be loaded is an error, a RunError; else the index tells of it
        """
        with self._control:
            self._look()
            for name, record in list(self._records.items()):
                if name in self._live:  # as a member of an ensemble
                    record.holders.add("")
                    continue
                try:
                    self._bring(name, "", anew=False)
                except IntarsiaError as error:
                    if all_of_them:
                        raise
                    _log.warning("model '%s' could not be loaded: %s: %s", name, error.where, error.what)

    def load(self, name: str, holder: str = "") -> None:
        """Load a model, or load it anew, for a client. Raises RunError where it cannot be, and keeps what there was."""
        with self._control:
            self._look()
            self._known(name)
            self._bring(name, holder, anew=True)

    def unload(self, name: str, holder: str = "", *, members: bool = False) -> None:
        """A client wants a model no more: it is unloaded when nobody else wants it.

        members  whether the models of an ensemble are given up too

        A Refusal where the client did not load it and others want it: it is theirs.
        """
        with self._control:
            record = self._known(name)
            live = self._live.get(name)
            if live is None:
                return
            if holder not in record.holders:
                raise Refusal(Outcome.CONFLICT, f"model '{name}' is held by {_listed(record.holders)}")
            given_up = live.ensemble.description.models if members and live.ensemble is not None else ()
            record.holders.discard(holder)
            if record.holders:
                record.reason = f"held by {_listed(record.holders)}"
            else:
                self._put_away(name)
            for member in given_up:
                if holder in self._records[member].holders:
                    self.unload(member, holder)

    def bring(self, name: str) -> None:
        """Load what is new of a model, for whoever wrote it into a folder. Raises RunError as `load` does."""
        with self._control:
            if name in self._records:
                self._bring(name, "", anew=False)

    def look(self) -> dict[str, Source]:
        """Look into the folders again. Raises RunError where two models have one name."""
        with self._control:
            return self._look()

    def remove(self, name: str) -> None:
        """The files of a model have gone: unload it, unless an ensemble needs it."""
        with self._control:
            record = self._records[name]
            needed = {holder for holder in record.holders if holder.startswith(_ENSEMBLE)}
            if needed:
                record.reason = f"its files are gone; held by {_listed(needed)}"
                return
            self._put_away(name)
            del self._records[name]

    def note(self, name: str, reason: str) -> None:
        """Say in the index why a model is not as its owner wants it."""
        with self._control:
            if name in self._records:
                self._records[name].reason = reason

    def stamps(self, name: str) -> Mapping[str, Stamp]:
        """Of the files that the versions were loaded from; empty where none is."""
        live = self._live.get(name)
        return {} if live is None else live.stamps

    def _look(self) -> dict[str, Source]:
        sources = find_sources(self._paths, may_be_empty=self._changing)
        for name, source in sources.items():
            record = self._records.get(name)
            if record is None:
                self._records[name] = Record(source)
            else:
                record.source = source
        return sources

    def _known(self, name: str) -> Record:
        record = self._records.get(name)
        if record is None:
            raise Refusal(Outcome.UNKNOWN, f"the repository has no model {quoted(name)}")
        return record

    def _bring(self, name: str, holder: str, *, anew: bool, within: tuple[str, ...] = ()) -> None:
        record = self._records[name]
        if self._draining:
            raise Refusal(Outcome.DRAINING, "the server is shutting down", 1)
        if name in within:
            raise RunError(
                where=f"ensemble '{name}'",
                what=f"it is a member of itself: {' of '.join((*within, name))}",
                help="take the circle apart",
            )
        record.loading = True
        made: list[Endpoint] = []
        try:
            live = self._made(record, made, anew, within)
            self._check_ensembles(name, live)
        except BaseException as error:
            for endpoint in made:
                endpoint.retire()
            if name not in self._live:
                self._let_go(f"{_ENSEMBLE}{name}", list(self._records))
            record.reason = f"it could not be loaded: {_letter(error)}"
            self._metrics.loaded(name, False)
            raise
        finally:
            record.loading = False
        before = self._live.get(name)
        self._live = {**self._live, name: live}
        record.reason = ""
        record.holders.add(holder)
        self._hold_members(name, before, live)
        for endpoint in made:
            if isinstance(endpoint, ServedModel):
                endpoint.serve()
            self._metrics.loaded(name, True)
        if before is not None:
            self._retire([old for old in before.versions.values() if old not in live.versions.values()])

    def _made(self, record: Record, made: list[Endpoint], anew: bool, within: tuple[str, ...]) -> Live:
        """The versions as they should be; those that are made for it are added to `made` one by one."""
        source = record.source
        name = source.name
        before = self._live.get(name)
        settings = source.read_settings()
        versions: dict[str, Endpoint] = {}
        stamps: dict[str, Stamp] = {}
        chosen, usual = settings.chosen(tuple(source.versions), f"model '{name}'")
        for version in chosen:
            stamps[version] = _stamp(source, version)
            if before is not None and not anew and before.stamps.get(version) == stamps[version]:
                versions[version] = before.versions[version]
                continue
            if source.ensemble:
                endpoint: Endpoint = self._ensemble(source, settings, within)
            else:
                endpoint = self._model(source, version, settings)
            made.append(endpoint)
            versions[version] = endpoint
        return Live(versions, usual, dict(settings.aliases), stamps)

    def _model(self, source: Source, version: str, settings: ModelSettings) -> ServedModel:
        options = self._options
        session = load(
            source.versions[version],
            device=options.device,
            threads=options.threads,
            native=options.native,
            trusted_keys=options.trusted_keys,
        )
        try:
            return ServedModel(source.name, version, session, options, self._metrics, settings, self._cache)
        except BaseException:
            session.close()
            raise

    def _ensemble(self, source: Source, settings: ModelSettings, within: tuple[str, ...]) -> Ensemble:
        description = Description(source.versions["1"])
        for member in description.models:
            if member not in self._records:
                raise RunError(
                    where=f"ensemble {source.versions['1']}",
                    what=f"it names the model '{member}', which the repository does not have",
                    help=f"there are {', '.join(sorted(self._records))}",
                )
            if member not in self._live or member == source.name:
                self._bring(member, f"{_ENSEMBLE}{source.name}", anew=False, within=(*within, source.name))
        plan = description.plan(lambda name, version: self._member(self._live, name, version))
        return Ensemble(source.name, description, plan, self._take, self._metrics, settings.labels)

    def _check_ensembles(self, name: str, live: Live) -> None:
        """A model that takes another's place must fit where ensembles use it. Raises RunError where it does not."""
        future = {**self._live, name: live}
        for other in self._live.values():
            ensemble = other.ensemble
            if ensemble is None or name not in ensemble.description.models:
                continue
            plan = ensemble.description.plan(lambda member, version: self._member(future, member, version))
            if plan.outputs != ensemble.outputs:
                raise RunError(
                    where=f"model '{name}'",
                    what=f"with it the outputs of the ensemble '{ensemble.name}' would be others",
                    help="unload the ensemble first, and load it again then",
                )

    @staticmethod
    def _member(live: Mapping[str, Live], name: str, version: str) -> Endpoint:
        found = live[name].find(version)
        if found is None:
            raise RunError(
                where=f"model '{name}'",
                what=f"an ensemble names its version {version}, which is not served",
                help=f"served are {', '.join((*live[name].versions, *live[name].aliases))}",
            )
        return found

    def _hold_members(self, name: str, before: Live | None, live: Live | None) -> None:
        """An ensemble holds its models while it is served, so that nobody unloads them meanwhile."""
        holder = f"{_ENSEMBLE}{name}"
        old, new = (_members(item) for item in (before, live))
        for member in new - old:
            self._records[member].holders.add(holder)
        self._let_go(holder, old - new)

    def _let_go(self, holder: str, names: Iterable[str]) -> None:
        """Somebody wants these models no more: those that nobody else wants are unloaded."""
        for name in names:
            record = self._records[name]
            if holder in record.holders:
                record.holders.discard(holder)
                if not record.holders:
                    self._put_away(name)

    def _put_away(self, name: str) -> None:
        live = self._live.get(name)
        if live is None:
            return
        self._live = {key: item for key, item in self._live.items() if key != name}
        record = self._records[name]
        record.holders.clear()
        record.reason = ""
        self._retire(list(live.versions.values()))
        self._hold_members(name, live, None)

    def _retire(self, endpoints: Sequence[Endpoint]) -> None:
        self._retired = [endpoint for endpoint in self._retired if not endpoint.closed]
        self._retired.extend(endpoints)
        for endpoint in endpoints:
            endpoint.retire()

    # ---- the end

    @property
    def _all(self) -> list[Endpoint]:
        served = [endpoint for live in list(self._live.values()) for endpoint in live.versions.values()]
        return [*served, *(endpoint for endpoint in list(self._retired) if not endpoint.closed)]

    @property
    def users(self) -> int:
        """Requests that have a model and no answer yet."""
        return sum(endpoint.users for endpoint in self._all)

    def drain(self) -> None:
        """Take no further requests, and load nothing more. A flag alone, which a handler of signals may set."""
        self._draining = True

    def give_up(self) -> None:
        """Take no further requests, and refuse those that have no answer yet."""
        self._draining = True
        for endpoint in self._all:
            endpoint.give_up()

    def close(self, seconds: float | None = None) -> bool:
        """Answer what was taken and let go of everything; False where one takes longer than so many seconds."""
        self._draining = True
        endpoints = sorted(self._all, key=lambda endpoint: not isinstance(endpoint, Ensemble))
        ended = [endpoint.close(seconds) for endpoint in endpoints]
        self._live = {}
        return all(ended)


_ENSEMBLE = "ensemble "


def _members(live: Live | None) -> set[str]:
    ensemble = None if live is None else live.ensemble
    return set() if ensemble is None else set(ensemble.description.models)


def _stamp(source: Source, version: str) -> Stamp:
    try:
        return source.stamp(version)
    except OSError as error:
        raise RunError(
            where=f"model '{source.name}'", what=f"its files cannot be read: {error}", help="see who writes them"
        ) from error


def _listed(holders: set[str]) -> str:
    return ", ".join(sorted(quoted(holder) if holder else "the clients without a name" for holder in holders))


def _letter(error: BaseException) -> str:
    return f"{error.where}: {error.what}" if isinstance(error, IntarsiaError) else str(error) or type(error).__name__
