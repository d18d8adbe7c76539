"""The state folder: where everything of one fleet is kept, and its state document.

state.json     planner.plan.State as the last apply left it
engine         the kind of engine that its replicas were started with
goal.json      the plan that is to be kept: the last one begun
journal.jsonl  what apply began and ended
reconcile.json what the reconcile loop remembers: its last passes, and replicas that fail again and again
lock           held while apply or destroy works
processes/     one record per process that was started
logs/          one log per replica and one of the router, with the former ones
router/        Envoy's files
nodes/         emulated devices, one folder per node
plans/         each of the last applied plans, by the serial of the state that it left
refused.json   workloads that are refused, and replicas that moved, while another has a burst (executor.state.refused)
adopt.json     which servers that somebody else started are proposed to be adopted (executor.hand_started.adoption)
history/       the state after each of the last applies, so that a stale plan can be told what changed since
"""

from __future__ import annotations

from pathlib import Path

from executor.errors import StateError
from executor.file_names import file_name
from executor.processes.logs import LogLimits
from planner.plan import DocumentError, State, state_from_json, state_hash, to_json
from profiles.regular_files import sync_folder, write_atomic

# So many states and plans are kept: enough to explain a plan that was made some applies ago; each is a few hundred kB at most.
HISTORY_LENGTH = 20


class StateFolder:
    """Paths of one state folder, and its state document."""

    def __init__(self, root: Path, log_limits: LogLimits | None = None) -> None:
        """Root need not exist yet: `create` makes it, reading an absent one gives the empty state. log_limits bound its logs."""
        self.root = root.resolve()
        self.log_limits = log_limits or LogLimits()
        self.state_path = self.root / "state.json"
        self.engine_path = self.root / "engine"
        self.goal_path = self.root / "goal.json"
        self.refused_path = self.root / "refused.json"
        self.reconcile_path = self.root / "reconcile.json"
        self.journal_path = self.root / "journal.jsonl"
        self.lock_path = self.root / "lock"
        self.processes = self.root / "processes"
        self.logs = self.root / "logs"
        self.router = self.root / "router"
        self.nodes = self.root / "nodes"
        self.history = self.root / "history"
        self.plans = self.root / "plans"

    def create(self) -> None:
        """Make the folders that are missing. Raises StateError when that is not possible."""
        try:
            for folder in (self.root, self.processes, self.logs, self.router, self.nodes, self.history):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StateError(f"{self.root}: cannot be made a state folder: {error.strerror or error}") from error

    def node(self, name: str) -> Path:
        """Folder of a node's emulated devices."""
        return self.nodes / file_name(name)

    def load(self) -> State:
        """The state; the empty one when nothing was applied yet. Raises StateError on a damaged or newer file."""
        try:
            text = self.state_path.read_bytes().decode()
        except FileNotFoundError:
            return State()
        except (OSError, UnicodeDecodeError) as error:
            raise StateError(f"{self.state_path}: cannot be read: {error}; {self._advice()}") from error
        try:
            return state_from_json(text, str(self.state_path))
        except DocumentError as error:
            raise StateError(f"{error}\n{self._advice()}") from error

    def save(self, state: State) -> None:
        """Write the state atomically and keep a copy in history/. Raises StateError when the disk refuses."""
        text = to_json(state)
        try:
            write_atomic(self.history / f"{state.serial:08d}.json", text)
            write_atomic(self.state_path, text)
            self._prune()
        except OSError as error:
            raise StateError(f"{self.state_path}: cannot be written: {error.strerror or error}; free space and apply again") from error

    def engine(self) -> str | None:
        """The kind of engine of the last apply, by its name in the table of backends; None before the first.

        Folders of earlier versions do not say it; those with emulated devices are of emulated engines. The state is not read: what is
        to be destroyed must be found although it is damaged. Raises StateError when the name cannot be read.
        """
        try:
            return self.engine_path.read_text(encoding="utf-8").strip() or None
        except (FileNotFoundError, NotADirectoryError):
            if self.nodes.exists() and any(self.nodes.iterdir()):
                return "emulated"
            return "vllm" if self.state_path.exists() else None
        except (OSError, UnicodeDecodeError) as error:
            raise StateError(f"{self.engine_path}: cannot be read: {error}; write the --engine of the last apply into it") from error

    def set_engine(self, name: str) -> None:
        """Note the kind of engine. Raises StateError when the disk refuses."""
        try:
            write_atomic(self.engine_path, f"{name}\n")
        except OSError as error:
            raise StateError(f"{self.engine_path}: cannot be written: {error.strerror or error}; free space and try again") from error

    def past(self, digest: str) -> State | None:
        """The earlier state with this hash, where it is still kept and readable."""
        if digest == state_hash(State()):
            return State()
        for path in self.history.glob("*.json"):
            try:
                state = state_from_json(path.read_text(encoding="utf-8"), str(path))
            except (OSError, UnicodeDecodeError, DocumentError):
                continue
            if state_hash(state) == digest:
                return state
        return None

    def _prune(self) -> None:
        for path in sorted(self.history.glob("*.json"))[:-HISTORY_LENGTH]:
            path.unlink(missing_ok=True)
        sync_folder(self.history)

    def _advice(self) -> str:
        return f"the file was left as it is: put back a copy from {self.history}, or use the version of ullage that wrote it"
