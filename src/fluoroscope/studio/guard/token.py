"""The token without which a studio that others can reach answers nobody.

It comes once in the address (``?token=``), which leads at once to one without it, and stays in a
cookie that no script can read and that no other site's page sends; programs send it as
``Authorization: Bearer``.
"""

import hashlib
import hmac
import html
import os
import secrets
from urllib.parse import unquote_to_bytes

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Scope

from fluoroscope.errors import InvalidParameterError
from fluoroscope.studio.refusals.problems import problem

_SHORTEST = 16
_LOST = (
    "the studio does not know this browser: its token is missing, or is that of an earlier start; "
    "open the link that its command printed"
)


class Token:
    """A token, and who has it."""

    def __init__(self, words: str, port: int) -> None:
        """``port`` is part of the cookie's name: those of one machine share their cookies."""
        if len(words) < _SHORTEST:
            raise InvalidParameterError(
                f"the token has {len(words)} characters; expected at least {_SHORTEST}, at random"
            )
        self.words = words
        self._cookie = f"fluoroscope-{port}"
        self._digest = _digest(words.encode())
        # What the cookie holds does not tell the token.
        self._session = _digest(b"cookie of " + words.encode()).hex()

    def answer(self, scope: Scope, headers: Headers) -> ASGIApp | None:
        """What is answered in place of what was asked for, or nothing where that may be had."""
        given = _given(scope)
        if given is not None and self._right(given):
            return self._let_in(scope, headers)
        if given is None and self._known(headers):
            return None
        if scope["path"].startswith("/api/"):
            return problem(401, _LOST, {"WWW-Authenticate": "Bearer"})
        return HTMLResponse(_PAGE.format(words=html.escape(_LOST)), 401)

    def _known(self, headers: Headers) -> bool:
        kind, _, words = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self._right(words.strip().encode("latin-1", "replace")):
            return True
        cookies = cookie_parser("; ".join(headers.getlist("cookie")))
        session = cookies.get(self._cookie, "")
        return hmac.compare_digest(_digest(session.encode()), _digest(self._session.encode()))

    def _right(self, words: bytes) -> bool:
        # Of equal length and unknown to whoever guesses, so that time tells nothing.
        return hmac.compare_digest(_digest(words), self._digest)

    def _let_in(self, scope: Scope, headers: Headers) -> Response:
        rest = "&".join(part for part in _parts(scope) if not part.startswith("token="))
        place = f"./?{rest}" if rest else "./"
        if headers.get("sec-fetch-site", "none") in ("none", "same-origin"):
            answer = Response(status_code=303, headers={"Location": place})
        else:
            # After a link on another site's page a redirect would be without the new cookie.
            leading = f'<meta http-equiv="refresh" content="0;url={html.escape(place)}">'
            answer = HTMLResponse(_PAGE.format(words=f"{leading}one moment"))
        answer.headers["Cache-Control"] = "no-store"
        answer.set_cookie(self._cookie, self._session, httponly=True, samesite="strict", path=None)
        return answer


def make_token(variable: str | None, port: int) -> Token:
    """One at random, or that of an environment variable.

    Raises:
        InvalidParameterError: there is no such variable, or it is too short.
    """
    if variable is None:
        return Token(secrets.token_urlsafe(32), port)
    words = os.environ.get(variable)
    if not words:
        raise InvalidParameterError(
            f"the environment variable {variable} is not set; expected it to hold the token"
        )
    return Token(words, port)


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Fluoroscope studio</title><p>{words}</p></html>
"""


def _given(scope: Scope) -> bytes | None:
    """The token in the address of the page."""
    if scope["method"] != "GET" or scope["path"] not in ("/", "/index.html"):
        return None
    found = [part[6:] for part in _parts(scope) if part.startswith("token=")]
    return unquote_to_bytes(found[0]) if found else None


def _parts(scope: Scope) -> list[str]:
    return [part for part in scope["query_string"].decode("latin-1").split("&") if part]


def _digest(words: bytes) -> bytes:
    return hashlib.sha256(words).digest()
