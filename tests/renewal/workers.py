"""The ports of one worker, over the true vault and directory: every effect is shown to the invariants as it happens."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

from shared.errors import AuthorizationDenied, Conflict, DirectoryRefused, UpstreamUnavailable
from shared.ports import (
    Application,
    AuthorizationRequest,
    ProviderMetadata,
    RegisteredKey,
    Row,
    Table,
    VaultCertificate,
    VaultSecret,
)
from shared.secret import Secret
from tests.renewal.cloud import read_jwt, signature, x5t
from tests.renewal.gate import Gate, Outside

if TYPE_CHECKING:
    from tests.renewal.world import Worker, World

DIRECTORY_AUDIENCE = "00000002-0000-0000-c000-000000000000"
CERTIFICATE_ROW = ("settings", "certificate")


class WorkerStore:
    """The store, as one worker reaches it."""

    def __init__(self, world: "World", worker: "Worker", gate: Gate) -> None:
        self._world, self._worker, self._gate = world, worker, gate

    def _do[T](self, effect: Callable[[], T]) -> T:
        return self._gate.through(Outside.STORE, effect)

    def get(self, table: Table, partition: str, key: str) -> Row | None:
        """Read one row."""
        return self._do(lambda: self._world.store.get(table, partition, key))

    def insert(self, table: Table, row: Row) -> Row:
        """Add a row."""
        return self._do(lambda: self._written(table, self._world.store.insert(table, row)))

    def insert_all(self, table: Table, rows: list[Row]) -> None:
        """Add rows."""
        self._do(lambda: self._world.store.insert_all(table, rows))

    def replace(self, table: Table, row: Row) -> Row:
        """Write a row."""
        return self._do(lambda: self._written(table, self._world.store.replace(table, row)))

    def delete(self, table: Table, row: Row) -> None:
        """Remove a row."""
        self._do(lambda: self._world.store.delete(table, row))

    def query(self, table: Table, partition: str) -> list[Row]:
        """Read a partition."""
        return self._do(lambda: self._world.store.query(table, partition))

    def older(self, table: Table, column: str, moment: datetime, most: int) -> list[Row]:
        """Find old rows."""
        return self._do(lambda: self._world.store.older(table, column, moment, most))

    def _written(self, table: Table, row: Row) -> Row:
        if table is Table.SETTINGS and (row.partition, row.key) == CERTIFICATE_ROW:
            self._world.row_written(self._worker)
        return row


class WorkerVault:
    """The vault, as one worker reaches it."""

    def __init__(self, world: "World", worker: "Worker", gate: Gate) -> None:
        self._world, self._worker, self._gate = world, worker, gate
        self._true = world.vault

    def _do[T](self, effect: Callable[[], T]) -> T:
        return self._gate.through(Outside.VAULT, effect)

    def secret(self, name: str) -> VaultSecret | None:
        """Read a secret."""
        return self._do(lambda: self._true.secrets.get(name))

    def set_secret(self, name: str, value: Secret, expires_on: datetime | None = None) -> None:
        """Write a secret."""
        self._do(lambda: self._true.secrets.__setitem__(name, VaultSecret(value, expires_on)))

    def sign(self, key: str, version: str, algorithm: Literal["PS256", "RS256"], digest: bytes) -> bytes:
        """Sign, unless the version is disabled, expired or unknown."""
        del key

        def signed() -> bytes:
            if not self._true.signs(version, self._world.now):
                raise UpstreamUnavailable("vault", "http 403", retriable=False, key_unusable=True)
            return signature(version, algorithm, digest)

        return self._do(signed)

    def create_certificate(self, name: str, tag: str) -> None:
        """Begin a version; 409 while another one is in the making."""
        del name

        def create() -> None:
            self._world.about_to_write(self._worker, "create")
            if self._true.is_making(self._world.now):
                raise Conflict
            made = self._true.make(tag, self._world.now)
            self._world.created(self._worker, made)

        self._do(create)

    def find_certificate(self, name: str, tag: str) -> VaultCertificate | None:
        """Find the oldest version with this tag."""
        del name
        return self._do(lambda: self._find(tag))

    def _find(self, tag: str) -> VaultCertificate | None:
        now = self._world.now
        for version in self._true.versions.values():
            if version.tag == tag and version.ready_at <= now:
                return version.public()
        return None

    def certificate(self, name: str, version: str) -> VaultCertificate | None:
        """Read one version."""
        del name

        def read() -> VaultCertificate | None:
            found = self._true.versions.get(version)
            return found.public() if found is not None and found.ready_at <= self._world.now else None

        return self._do(read)

    def disable_certificate(self, name: str, version: str) -> None:
        """Disable a version."""
        del name

        def disable() -> None:
            self._world.about_to_write(self._worker, "disable")
            if version in self._true.versions:
                self._true.versions[version].enabled = False
            self._world.check()

        self._do(disable)


class WorkerIdentity:
    """Microsoft's token endpoint, as one worker reaches it: the replica is chosen by the test."""

    def __init__(self, world: "World", worker: "Worker", gate: Gate) -> None:
        self._world, self._worker, self._gate = world, worker, gate
        self._skew: timedelta | None = None

    def authenticate(self, application: Application, assertion: Callable[[str], str]) -> Secret:
        """Give a token where the replica knows the key that signed."""
        del application
        made = assertion("https://login.example/token")
        return self._gate.through(Outside.MICROSOFT, lambda: self._check(made))

    def _check(self, assertion: str) -> Secret:
        world, jwt = self._world, read_jwt(assertion)
        self._skew = self._worker.clock() - world.now
        if not jwt.is_in_time(world.now):
            raise AuthorizationDenied("invalid_client", (700024,))
        version = jwt.version or ""
        known = world.directory.knows(version, world.next_replica(), world.now)
        right = jwt.algorithm == "PS256" and jwt.header["x5t#S256"] == world.thumbprint(version)
        expired = known and not world.is_in_its_time(version)
        self._worker.probed(version, ok=known and right and not expired)
        if not known or not right:
            raise AuthorizationDenied("invalid_client", (700027,))
        if expired:
            raise AuthorizationDenied("invalid_client", (1000502,))
        return Secret("a token of the application")

    def clock_skew(self) -> timedelta | None:
        """Tell how far the worker's clock is ahead."""
        return self._skew

    def start(
        self,
        application: Application,
        redirect_uri: str,
        *,
        state: str,
        login_hint: str = "",
        domain_hint: str = "",
        prompt: str = "",
    ) -> tuple[str, AuthorizationRequest]:
        """Nobody signs in through this door here."""
        raise NotImplementedError

    def redeem(
        self,
        application: Application,
        redirect_uri: str,
        request: AuthorizationRequest,
        answer: Mapping[str, str],
        assertion: Callable[[str], str],
    ) -> str:
        """Nobody signs in through this door here."""
        raise NotImplementedError

    def metadata(self, application: Application) -> ProviderMetadata:
        """Nobody signs in through this door here."""
        raise NotImplementedError

    def fetch_keys(self, application: Application) -> Mapping[str, object]:
        """Nobody signs in through this door here."""
        raise NotImplementedError


class WorkerDirectory:
    """Microsoft Graph, as one worker reaches it. It checks each proof."""

    def __init__(self, world: "World", worker: "Worker", gate: Gate) -> None:
        self._world, self._worker, self._gate = world, worker, gate

    def add_key(self, object_id: str, token: Secret, der: bytes, proof: str) -> str:
        """Register a key."""
        del token

        def add() -> str:
            self._world.about_to_write(self._worker, "add_key")
            self._judge(object_id, proof)
            key_id = self._world.register(der).key_id
            self._world.check()
            return key_id

        return self._gate.through(Outside.GRAPH, add)

    def remove_key(self, object_id: str, token: Secret, key_id: str, proof: str) -> bool:
        """Remove a key; False when there is none."""
        del token

        def remove() -> bool:
            self._world.about_to_write(self._worker, "remove_key", key_id)
            self._judge(object_id, proof)
            key = self._world.directory.keys.get(key_id)
            if key is None or not key.is_registered:
                return False
            self._world.directory.unregister(key, self._world.now)
            self._world.removed(key)
            return True

        return self._gate.through(Outside.GRAPH, remove)

    def keys(self, object_id: str, token: Secret) -> list[RegisteredKey] | None:
        """List the keys, where the application may."""
        del object_id, token

        def listed() -> list[RegisteredKey] | None:
            directory = self._world.directory
            if not directory.readable:
                return None
            return [
                RegisteredKey(key.key_id, x5t(key.der))
                for key in directory.keys.values()
                if key.is_registered
            ]

        return self._gate.through(Outside.GRAPH, listed)

    def _judge(self, object_id: str, proof: str) -> None:
        """Raise DirectoryRefused for a proof that is none (application-rollkey-prooftoken), or by policy."""
        world, jwt = self._world, read_jwt(proof)
        signed_by = next(
            (
                key.version
                for key in world.directory.keys.values()
                if key.is_registered and x5t(key.der) == jwt.header["x5t"]
            ),
            None,
        )
        right = (
            jwt.header["alg"] == jwt.algorithm == "RS256"
            and jwt.claims["aud"] == DIRECTORY_AUDIENCE
            and jwt.claims["iss"] == object_id == world.true_object_id
            and jwt.claims["exp"] - jwt.claims["nbf"] <= timedelta(minutes=10).total_seconds()
            and jwt.is_in_time(world.now)
            and signed_by == jwt.version is not None
        )
        if not right:
            raise DirectoryRefused(401, "Authentication_MissingOrMalformed")
        if world.directory.refuses:
            raise DirectoryRefused(400, "KeyCredentialsPolicy")
