"""Names as the protocols carry them: the broker decides about each, and `check` refuses those that no frame can hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final
from urllib.parse import SplitResult, unquote, unquote_to_bytes

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from bridge.config.connection import Name
from bridge.config.source_model import MAX_PROCESSES
from bridge.config.substitution import unmarked
from bridge.config.urls import split_url
from bridge.config.wording import quoted
from bridge.errors import Diagnostic, InvalidValue
from bridge.topics.mqtt import MAX_STRING, check_filter, check_string

#: A short string of AMQP, in bytes of UTF-8 (AMQP 0-9-1, 4.2.5.3): queue, exchange, routing key, virtual host.
_MAX_SHORT_STRING: Final = 255
#: The name of an argument (AMQP 0-9-1, 4.2.5.5). The AMQP library would cut a longer one.
_MAX_FIELD_NAME: Final = 128


def _short_string(name: str) -> str:
    if (size := len(name.encode())) > _MAX_SHORT_STRING:
        raise InvalidValue(f"takes text of at most {_MAX_SHORT_STRING} bytes, AMQP's own limit; this one has {size}")
    return name


def _name(name: str) -> str:
    # RabbitMQ leaves out line breaks, and makes a queue of another name for an empty one.
    if not name.strip("\r\n"):
        raise InvalidValue("takes a name with more in it than line breaks, which RabbitMQ leaves out")
    return name


def _field_names(arguments: dict[str, Any]) -> dict[str, Any]:
    for name in _names(arguments):
        if len(name.encode()) > _MAX_FIELD_NAME:
            problem = f"takes names of at most {_MAX_FIELD_NAME} bytes, AMQP's own limit; {quoted(name)} is longer"
            raise InvalidValue(problem)
    return arguments


def _names(value: object) -> Iterator[str]:
    """Yield the names in a table, and in the tables inside it."""
    if isinstance(value, dict):
        yield from value
        value = list(value.values())
    for item in value if isinstance(value, list) else ():
        yield from _names(item)


def _mqtt_filter(text: str) -> str:
    check_filter(text)
    return text


def process_client_id(first: str, number: int) -> str:
    """Return the client_id of process `number`, from 1; `first` is that of process 0. Its suffix makes a clash unlikely."""
    return f"{first}-worker-{number}"


_MAX_CLIENT_ID: Final = MAX_STRING - len(process_client_id("", MAX_PROCESSES - 1))


def _client_id(text: str) -> str:
    check_string(text)
    if (size := len(text.encode())) > _MAX_CLIENT_ID:
        problem = f"takes text of at most {_MAX_CLIENT_ID:,} bytes, since those of `processes` have a suffix"
        raise InvalidValue(f"{problem}; this one has {size:,}")
    return text


def _short(**schema: object) -> WithJsonSchema:
    return WithJsonSchema({"maxLength": _MAX_SHORT_STRING, **schema, "type": "string"})


AmqpKey = Annotated[str, AfterValidator(_short_string), _short()]
AmqpName = Annotated[
    Name, AfterValidator(_short_string), AfterValidator(_name), _short(minLength=1, pattern=r"[^\r\n]")
]
AmqpArguments = Annotated[dict[str, Any], BeforeValidator(unmarked), AfterValidator(_field_names)]
ClientId = Annotated[Name, AfterValidator(_client_id)]
MqttFilter = Annotated[Name, AfterValidator(_mqtt_filter)]


def split(url: object) -> SplitResult | None:
    """Return the parts of a URL as it stands in the file, or None where it is none."""
    return split_url(url) if isinstance(url, str) else None


def virtual_host(url: str) -> str:
    """Return the virtual host of an AMQP URL."""
    parts = split(url)
    return unquote(parts.path[1:]) or "/" if parts else "/"


def virtual_host_mistakes(url: object) -> Iterator[Diagnostic]:
    """Yield the mistake in an AMQP URL whose virtual host no frame can hold."""
    parts = split(url)
    size = len(unquote_to_bytes(parts.path)) - 1 if parts else 0
    if size > _MAX_SHORT_STRING:
        problem = f"a virtual host has at most {_MAX_SHORT_STRING} bytes, AMQP's own limit; this one has {size}"
        yield Diagnostic(("url",), problem)


def mqtt_login_mistakes(source: Mapping[str, Any]) -> Iterator[Diagnostic]:
    """Yield the mistakes in a login that no CONNECT can hold; paho-mqtt raises, or the broker hangs up without a word."""
    parts = split(source.get("url"))
    in_url = [("url", unquote(text)) for text in (parts and parts.username, parts and parts.password) if text]
    for key, text in [*in_url, ("username", source.get("username")), ("password", source.get("password"))]:
        if isinstance(text, str) and (len(text.encode()) > MAX_STRING or "\0" in text):
            problem = f"user name and password of MQTT have at most {MAX_STRING:,} bytes each, and no character NUL"
            yield Diagnostic((key,), problem)
