"""The canonical form of a URL: what two addresses of one page share.

Folded: http and https, the case of scheme and host, `www.`, user names, default ports, a host's Unicode and punycode form, dot segments, a
trailing slash, fragments, the order of query parameters, `+` and `%20`, how a character is percent-encoded; parameters that track a visit or
name a session are left out. Not folded, for they tell pages apart: the case of paths, `m.` hosts, `ref`, `id`, `page` and the like.
"""

from __future__ import annotations

import re
import urllib.parse

# Parameters that name a visit, never a page: click ids of advertisers, campaigns, newsletters.
TRACKING = frozenset(
    [
        "fbclid",
        "gclid",
        "gclsrc",
        "dclid",
        "gbraid",
        "wbraid",
        "msclkid",
        "yclid",
        "ymclid",
        "twclid",
        "ttclid",
        "igshid",
        "igsh",
        "li_fat_id",
        "mc_cid",
        "mc_eid",
        "mkt_tok",
        "_ga",
        "_gl",
        "_hsenc",
        "_hsmi",
        "__hssc",
        "__hstc",
        "__hsfp",
        "hsctatracking",
        "oly_anon_id",
        "oly_enc_id",
        "vero_id",
        "vero_conv",
        "wickedid",
        "zanpid",
        "irclickid",
        "epik",
        "srsltid",
        "_openstat",
        "ref_src",
        "fb_action_ids",
        "fb_action_types",
        "fb_ref",
        "fb_source",
        "s_kwcid",
        "s_cid",
        "rb_clickid",
        "erid",
    ]
)
TRACKING_PREFIXES = ("utm_", "mtm_", "pk_", "hsa_", "aspsessionid")
SESSION = frozenset(["phpsessid", "jsessionid", "cfid", "cftoken", "asp.net_sessionid"])
# These name a session only where the value is long: `sid=17` is a story in many a news site.
PERHAPS_SESSION = frozenset(["sid", "sessid", "sessionid", "session_id", "session", "s_id", "oscsid", "zenid"])
SESSION_VALUE = re.compile(r"[0-9A-Za-z,_-]{16,}")

DEFAULT_PORTS = (None, 80, 443)  # of either scheme, for the two are one
_SCHEME = re.compile(r"(?i)(https?:)?//")
_HOST = re.compile(r"[a-z0-9_]([a-z0-9._-]*[a-z0-9_])?")
_ORDINARY = re.compile(r"(?i)https?://[a-z0-9_]+(?:[.-][a-z0-9_]+)*(?=[/?#]|\Z)")
_ADDRESS = re.compile(r"[0-9a-f:.]+")
# What may stand unencoded in both a path and a query; the rest, and any percent, is looked at.
_PLAIN = re.compile(r"[A-Za-z0-9._~!$'()*,:@/-]*")
_KEPT = "!$'()*,:@/"


def is_address(url: str) -> bool:
    """Whether a URL has a canonical form; for most it is plain from how they begin."""
    return (url.isascii() and _ORDINARY.match(url) is not None) or canonical(url) != ""


def canonical(url: str) -> str:
    """The canonical form, `//host/path?query`; "" for what is no http address (no host, another scheme, a port that is none)."""
    url = url.strip()
    if url[:4].lower() == "www.":
        url = f"//{url}"
    if not _SCHEME.match(url):
        return ""
    try:
        parts = urllib.parse.urlsplit(url)
        host, port = _host(parts.hostname or ""), parts.port
        path, query = _path(parts.path), _query(parts.query)
    except ValueError:  # UnicodeError is one
        return ""
    if not host:
        return ""
    if port not in DEFAULT_PORTS:
        host = f"{host}:{port}"
    return f"//{host}{path}?{query}" if query else f"//{host}{path}"


def _host(host: str) -> str:
    """The host in lower-case ASCII, without `www.`; "" where it is none. Raises UnicodeError for labels that no name has."""
    if ":" in host:
        return f"[{host}]" if _ADDRESS.fullmatch(host) else ""
    if "%" in host:
        host = urllib.parse.unquote(host, errors="strict").lower()
    if not host.isascii():
        host = host.encode("idna").decode().lower()
    host = host.removesuffix(".")
    if host.startswith("www.") and "." in host[4:]:
        host = host[4:]
    return host if _HOST.fullmatch(host) and ".." not in host else ""


def _path(path: str) -> str:
    """Its segments without dots, parameters that name a visit and a slash at the end."""
    kept: list[str] = []
    for segment in path.split("/")[1:]:
        if ";" in segment:
            segment, *parameters = segment.split(";")
            segment = ";".join([segment, *(parameter for parameter in parameters if not _names_a_visit(parameter))])
        segment = _encoded(segment, ";&=+")
        match segment:
            case ".":
                pass
            case "..":
                del kept[-1:]
            case _:
                kept.append(segment)
    return "".join(f"/{segment}" for segment in kept).rstrip("/")


def _query(query: str) -> str:
    """What names the page, sorted by name; values of one name keep their order, which may matter."""
    if not query:
        return ""
    kept = [_encoded(item.replace("+", "%20"), ";=?") for item in query.split("&") if item and not _names_a_visit(item)]
    return "&".join(sorted(kept, key=lambda item: item.partition("=")[0]))


def _names_a_visit(parameter: str) -> bool:
    name, _, value = parameter.partition("=")
    name = urllib.parse.unquote(name).lower()
    if name in TRACKING or name in SESSION or name.startswith(TRACKING_PREFIXES):
        return True
    return name in PERHAPS_SESSION and SESSION_VALUE.fullmatch(value) is not None


def _encoded(text: str, also: str) -> str:
    """Every character percent-encoded in one way: those that need no encoding bare, UTF-8 for the rest, upper-case digits.

    A delimiter that came encoded stays so: `a%2Fb` is one segment, `a/b` two.
    """
    if _PLAIN.fullmatch(text):
        return text
    pieces = re.split(r"(%[0-9A-Fa-f]{2})", text)
    for index, piece in enumerate(pieces):
        if index % 2:
            character = chr(int(piece[1:], 16))
            pieces[index] = character if character.isascii() and (character.isalnum() or character in "-._~") else piece.upper()
        else:
            pieces[index] = urllib.parse.quote(piece, safe=_KEPT + also)
    return "".join(pieces)
