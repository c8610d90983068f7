"""Who asks: a browser by a cookie that means nothing else, whatever has none by its address.

Behind a proxy all browsers come from one address, and the cookie tells them apart. It proves
nothing: who makes up many of them is still one address, which has a limit of its own.
"""

import re
import secrets

from fastapi import Request, Response

COOKIE = "fluoroscope-client"
_MADE = re.compile(r"[\w-]{22}", re.ASCII)


def address_of(request: Request) -> str:
    """Where the request comes from."""
    return request.client.host if request.client else "here"


def client_of(request: Request) -> str:
    """Who asks: the cookie that :func:`know_again` gave, else the address."""
    cookie = request.cookies.get(COOKIE, "")
    return f"cookie {cookie}" if _MADE.fullmatch(cookie) else f"address {address_of(request)}"


def know_again(request: Request, response: Response) -> None:
    """Give a browser its cookie, unless it has one; for the path of the API only."""
    if not client_of(request).startswith("cookie "):
        # Without a path it is that of the door, which also holds below the path of a proxy.
        response.set_cookie(
            COOKIE, secrets.token_urlsafe(16), path=None, httponly=True, samesite="strict"
        )
