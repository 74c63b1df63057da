"""The admin server: where people and programs see inside a bridge, and steer it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, SecretStr

from bridge.config.connection import Model, Name, or_null, secret


class AdminSettings(Model):
    """The admin server, which is off without this section."""

    listen: Name = Field(
        default="127.0.0.1:9464",
        description="address and port, or the path of a Unix socket, which only this user and root may use",
        examples=["127.0.0.1:9464", "unix:/run/dramatiq-bridge/admin.sock"],
    )
    token: Annotated[SecretStr | None, BeforeValidator(or_null(secret))] = Field(
        default=None,
        description="token of those who may change something; without it an address only shows, and a socket needs none",
        examples=["${ADMIN_TOKEN}"],
    )
    hosts: list[Name] = Field(
        default=[],
        description="names by which clients may come, besides localhost and the address itself",
        examples=[["bridge.example.com"]],
    )
