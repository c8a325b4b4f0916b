"""Who may ask the server: rules on a request's head alone, the same for every route and method.

1. The Host is one of the server's own names: a foreign name that resolves to this address (DNS rebinding) gets nothing.
2. What a browser sends comes from a page of this server: `Origin` equals the Host, `Sec-Fetch-Site` is `same-origin`
   or `none`. There is no CORS, so a preflight gets no answer that would allow anything.
3. A browser (any request with one of those headers) has the cookie that the printed address gave it. Programs on this
   machine need none, since no page can send a request without those headers; with `always` they need the token.
4. A body is JSON. Files come only to routes that take them, forms only from our own pages.

What is checked where a request has passed: `bodies` (size and shape of the body), `admission` (what settings may name).
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from regimen.web.refusal import Refusal

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_ONCE = ("host", "origin", "content-type", "content-length", "authorization", "sec-fetch-site")
_PROGRAMS = ("/api/", "/v1/", "/ws/")
"""Paths that answer programs; all others are pages and what belongs to them."""

Headers = Mapping[str, list[str]]
"""Names in lower case, each with all its values."""


@dataclass(frozen=True)
class Gate:
    """The rules of one server. Without a token nobody is asked for one: for tests with a client in the same process."""

    names: frozenset[str] = frozenset((*LOOPBACK, "testserver"))
    """Hosts that it answers to, lower case: `localhost:8000`, or without a port for any port."""
    token: str | None = field(default=None, repr=False)
    always: bool = False
    """Whether programs need the token, too."""
    port: int = 0
    """Its own; it names the cookie, since the servers of one machine share their cookies. 0: unknown."""
    any_address: bool = False
    """Whether a Host that is an IP address is one of its names: no rebinding needs one."""

    @classmethod
    def at(cls, host: str, port: int, token: str, *, names: Iterable[str] = (), always: bool = False) -> Gate:
        """The gate of a server bound to an address; elsewhere than on loopback, all need the token."""
        outside = not is_loopback(host)
        own = [*LOOPBACK, _bracketed(host), *([socket.gethostname(), socket.getfqdn()] if outside else [])]
        known = frozenset(name.lower() for name in (*(f"{name}:{port}" for name in own), *names))
        return cls(known, token, always or outside, port, is_wildcard(host))

    # ------------------------------------------------------------------ the rules

    def why_not(self, headers: Headers, path: str, *, takes_files: bool) -> Refusal | None:
        """The reason why a request is refused, None if it may pass. Nothing of its body has been read."""
        return (
            self._why_not_head(headers)
            or self.why_not_from(headers)
            or self._why_not_known(headers)
            or self._why_not_type(headers, path, takes_files)
        )

    def why_not_from(self, headers: Headers) -> Refusal | None:
        """The first two rules: the server was meant, and no foreign page asks."""
        host = _one(headers, "host").lower()
        if not self._is_own(host):
            fix = "Use the address that the server printed, or start it with --name HOST[:PORT]."
            return Refusal(421, "Host", f"is {host[:200]!r}, which is no name of this server.", fix)
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if site is not None and site[0] not in ("same-origin", "none"):
            return Refusal(403, "Sec-Fetch-Site", f"is {site[0][:40]!r}: only pages of this server may ask it.")
        if origin is not None and not _is_same(origin[0], host):
            return Refusal(403, "Origin", f"is {origin[0][:200]!r}: only pages of this server may ask it.")
        return None

    def opens(self, token: str) -> bool:
        """Whether this is the token."""
        return self.token is not None and _equal(token, self.token)

    @property
    def cookie(self) -> str:
        """The name of the cookie."""
        return f"regimen_{self.port}" if self.port else "regimen"

    @property
    def pass_(self) -> str:
        """What the cookie holds: proves that its owner had the token, and does not tell it."""
        return hmac.new((self.token or "").encode(), b"cookie", hashlib.sha256).hexdigest()

    # ------------------------------------------------------------------ each rule

    def _why_not_head(self, headers: Headers) -> Refusal | None:
        for name in _ONCE:
            if len(headers.get(name, [])) > 1:
                return Refusal(400, name, "is there more than once.")
        return None

    def _is_own(self, host: str) -> bool:
        name, _, port = host.rpartition(":") if host.rpartition(":")[2].isdigit() else (host, "", "")
        if host in self.names or name in self.names:
            return True
        return self.any_address and _is_address(name) and port in (str(self.port), "")

    def _why_not_known(self, headers: Headers) -> Refusal | None:
        if self.token is None or self._is_known(headers) or not (self.always or is_browser(headers)):
            return None
        fix = "Open the address that `regimen up` printed, or send the header `Authorization: Bearer TOKEN`."
        return Refusal(401, "", "this server does not know who asks.", fix)

    def _is_known(self, headers: Headers) -> bool:
        kind, _, given = headers.get("authorization", [""])[0].partition(" ")
        if kind.lower() == "bearer" and self.opens(given.strip()):
            return True
        cookies = "; ".join(headers.get("cookie", [])).split(";")
        pairs = [cookie.strip().partition("=") for cookie in cookies]
        return any(name == self.cookie and _equal(value, self.pass_) for name, _, value in pairs)

    def _why_not_type(self, headers: Headers, path: str, takes_files: bool) -> Refusal | None:
        given = headers.get("content-type")
        if given is None:
            if not has_body(headers):
                return None
            return Refusal(415, "Content-Type", "is missing.", "Send JSON as application/json.")
        kind = given[0].partition(";")[0].strip().lower()
        from_page = is_page(path) and "origin" in headers
        if (
            kind == "application/json"
            or (kind == "multipart/form-data" and (takes_files or from_page))
            or (kind == "application/x-www-form-urlencoded" and from_page)
        ):
            return None
        return Refusal(415, "Content-Type", f"is {kind[:100]!r} here.", "Send JSON as application/json.")


def is_browser(headers: Headers) -> bool:
    """Whether a browser sends this: no page can keep it from adding these."""
    return "origin" in headers or any(name.startswith("sec-fetch-") for name in headers)


def is_page(path: str) -> bool:
    """Whether a path is a page's and not one of the interfaces for programs."""
    return not path.startswith(_PROGRAMS)


def has_body(headers: Headers) -> bool:
    """Whether a body follows."""
    return "transfer-encoding" in headers or _one(headers, "content-length").strip() not in ("", "0")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_wildcard(host: str) -> bool:
    """Whether it stands for all addresses of the machine."""
    return host in ("", "0.0.0.0", "::")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _is_same(origin: str, host: str) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host and origin.count("/") == 2


def _one(headers: Headers, name: str) -> str:
    return headers.get(name, [""])[0]


def _equal(given: str, wanted: str) -> bool:
    """In a time that does not tell where they differ."""
    return hmac.compare_digest(
        hashlib.sha256(given.encode("utf-8", "replace")).digest(), hashlib.sha256(wanted.encode()).digest()
    )
