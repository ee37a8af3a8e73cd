"""The page's own files, from memory, under a policy that lets a browser load and run nothing else."""

from __future__ import annotations

from importlib.resources import files

from fastapi import APIRouter, HTTPException, Response

_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        # What is indexed and what a model writes must never become markup: no script may even try.
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    # The files change with the version of the server, under the same names.
    "Cache-Control": "no-cache",
}
_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


def file_routes() -> APIRouter:
    """`GET /` and `GET /page/files/NAME`, for anyone."""
    folder = files("homeground.serve.page") / "files"
    held = {one.name: one.read_bytes() for one in folder.iterdir() if one.name.rpartition(".")[2] in _TYPES}
    router = APIRouter(include_in_schema=False)

    async def file(name: str = "index.html") -> Response:
        if name not in held:
            raise HTTPException(404, "the page has no such file")
        return Response(held[name], media_type=_TYPES[name.rpartition(".")[2]], headers=_HEADERS)

    async def front() -> Response:
        return await file()

    router.add_api_route("/", front)
    router.add_api_route("/page/files/{name}", file)
    return router
