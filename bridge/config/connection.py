"""The settings of every connection: a URL, credentials, TLS and a deadline."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from bridge.config.substitution import Substituted, coerced
from bridge.config.units import DURATION, SIZE, parse_duration, parse_size, spell_duration
from bridge.config.urls import check_url, redacted_url, secret_texts, spellings, split_url
from bridge.config.wording import describe
from bridge.errors import InvalidValue
from bridge.observe.masking import MASK

#: In bytes; OpenSSL takes no longer one.
_MAX_KEY_PASSWORD: Final = 1024


def at_least(min_ms: int, max_ms: int | None = None) -> AfterValidator:
    """Bound a duration, in milliseconds."""

    def check(value: int) -> int:
        if value < min_ms:
            raise InvalidValue(f"takes a duration of at least {spell_duration(min_ms)}")
        if max_ms is not None and value > max_ms:
            raise InvalidValue(f"takes a duration of at most {spell_duration(max_ms)}")
        return value

    return AfterValidator(check)


def secret(value: object) -> object:
    """Return a SecretStr of text, which no error shows.

    Raises:
        InvalidValue: it is no text.
    """
    if isinstance(value, SecretStr):
        return value
    if not isinstance(value, str):
        hint = "quote it" if isinstance(value, (bool, int, float)) else ""
        raise InvalidValue(f"takes text, not {describe(value)}", hint)
    return SecretStr(value)


def _key_password(value: object) -> object:
    password = secret(value)
    if isinstance(password, SecretStr) and len(password.get_secret_value().encode()) > _MAX_KEY_PASSWORD:
        raise InvalidValue(f"takes text of at most {_MAX_KEY_PASSWORD} bytes")
    return password


def check_tls_name(context: ssl.SSLContext, name: str) -> None:
    """Raise ValueError for a name that TLS can't ask for, such as "a..b"; `ssl` itself also raises other errors."""
    try:
        context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=name)
    except (TypeError, ssl.SSLError) as error:
        raise ValueError(str(error)) from None


def _server_name(name: str) -> str:
    try:
        check_tls_name(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), name)
    except ValueError:
        raise InvalidValue("takes the name of a host", "as in broker.example.com") from None
    return name


def or_null(check: Callable[[object], object]) -> Callable[[object], object]:
    """Let null pass a check, and the empty text that an unset `${NAME:-}` leaves."""

    def checked(value: object) -> object:
        return None if value is None or (isinstance(value, Substituted) and not value) else check(value)

    return checked


#: A duration of the file, in milliseconds.
Milliseconds = Annotated[
    int, BeforeValidator(parse_duration), WithJsonSchema({"type": "string", "pattern": rf"^({DURATION}|\$\{{.*)$"})
]
#: A size of the file, in bytes.
Bytes = Annotated[
    int, BeforeValidator(parse_size), WithJsonSchema({"type": "string", "pattern": rf"^({SIZE}|\$\{{.*)$"})
]
Timeout = Annotated[Milliseconds, at_least(1)]
#: AMQP and MQTT count these in seconds, in two bytes.
Seconds16 = Annotated[Milliseconds, at_least(1_000, 65_535_000)]
Integer = Annotated[int, BeforeValidator(coerced)]
Boolean = Annotated[bool, BeforeValidator(coerced)]
Name = Annotated[str, Field(min_length=1)]


class Model(BaseModel):
    """Strict and frozen; text that was substituted is not in its repr."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        hide_input_in_errors=True,
        validate_by_name=True,
        validate_by_alias=True,
    )

    _hidden: frozenset[str] = PrivateAttr(default=frozenset())

    @property
    def hidden(self) -> frozenset[str]:
        """The names of the fields that hold a text which `${...}` has put there, and that may be a secret."""
        return self._hidden

    @model_validator(mode="after")
    def _hide_substituted(self, info: ValidationInfo) -> Self:
        secrets: set[str] = (info.context or {}).get("secrets", set())
        if secrets:
            shown = {name: self._shown(name, getattr(self, name)) for name in type(self).model_fields}
            # A whole URL from the environment is shown like one in the file: without its password.
            parts = {secret for secret in secrets if "://" not in secret}
            self._hidden = frozenset(
                name for name, value in shown.items() if _holds(value, parts if name == "url" else secrets)
            )
        return self

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, MASK if name in self._hidden else self._shown(name, value)

    def _shown(self, _name: str | None, value: object) -> object:
        return value


def _holds(value: object, secrets: set[str]) -> bool:
    """Tell whether a value holds a substituted text; models inside it answer for themselves."""
    if isinstance(value, str):
        return any(secret in value for secret in secrets)
    if isinstance(value, dict):
        return any(_holds(item, secrets) for item in value.values())
    return isinstance(value, list) and any(_holds(item, secrets) for item in value)


class Tls(Model):
    """The verification of a TLS connection, and the certificate that it presents."""

    ca: Name | None = Field(
        default=None, description="file with the certificates of the authorities to trust", examples=["/etc/ssl/ca.pem"]
    )
    cert: Name | None = Field(
        default=None, description="file with the certificate to present", examples=["/etc/dramatiq-bridge/client.pem"]
    )
    key: Name | None = Field(
        default=None, description="file with the key of the certificate", examples=["/etc/dramatiq-bridge/client.key"]
    )
    key_password: Annotated[SecretStr | None, BeforeValidator(or_null(_key_password))] = Field(
        default=None, description="password of the key, if it is encrypted", examples=["${KEY_PASSWORD}"]
    )
    server_name: Annotated[Name, AfterValidator(_server_name)] | None = Field(
        default=None, description="name to expect in the server's certificate", examples=["broker.example.com"]
    )
    verify: Boolean = Field(default=True, description="whether the server's certificate is verified", examples=[False])


class Connection(Model):
    """A connection to a broker or to Redis."""

    #: The schemes that `url` may have, and the one among them that stands for TLS.
    schemes: ClassVar[tuple[str, ...]] = ("redis", "rediss", "unix")
    tls_scheme: ClassVar[str] = "rediss"

    url: str = Field(
        description="where to connect, as in redis://localhost:6379/0", examples=["redis://localhost:6379/0"]
    )
    username: Annotated[str | None, BeforeValidator(or_null(lambda value: value))] = Field(
        default=None, description="user's name, instead of one in the URL", examples=["bridge"]
    )
    password: Annotated[SecretStr | None, BeforeValidator(or_null(secret))] = Field(
        default=None,
        description="password, instead of one in the URL: it needs no percent-encoding here",
        examples=["${PASSWORD}"],
    )
    tls: Tls | None = Field(
        default=None,
        description="settings of TLS, which the URL's scheme turns on",
        examples=[{"ca": "/etc/ssl/ca.pem"}],
    )
    connect_timeout: Timeout = Field(default=10_000, description="how long connecting may take")

    def secrets(self) -> set[str]:
        """Return the texts that no log may show, such as passwords and tokens."""
        given = [self.password, self.tls.key_password if self.tls is not None else None]
        in_url = secret_texts(self.url, has_password=self._has_own_password)
        texts = in_url | {secret.get_secret_value() for secret in given if secret is not None}
        if self.username and not self._has_password:
            texts.add(self.username)
        return set().union(*map(spellings, texts))

    @property
    def redacted_url(self) -> str:
        """The URL without its secrets, for logs and errors: with a user name, if a password stands beside it."""
        return redacted_url(self.url, has_password=self._has_own_password)

    @property
    def _has_own_password(self) -> bool:
        # As in a URL, an empty one is none: some brokers take a token with an empty password.
        return self.password is not None and self.password.get_secret_value() != ""

    @property
    def _has_password(self) -> bool:
        parts = split_url(self.url)
        return self._has_own_password or bool(parts is not None and parts.password)

    def _shown(self, name: str | None, value: object) -> object:
        if name == "url":
            return self.redacted_url
        # A user name without a password is a token.
        return MASK if name == "username" and value is not None and not self._has_password else value

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        return check_url(url, cls.schemes)
