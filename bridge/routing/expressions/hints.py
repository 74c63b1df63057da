"""Hints: the habits of other languages and common mistakes, each with the correct form."""

from __future__ import annotations

import ast
import keyword
import re
from typing import Final

from bridge.errors import InvalidValue

#: By their lower case: the constants of other languages, and of this one in other cases.
FOREIGN_CONSTANTS: Final = {
    "true": "true",
    "false": "false",
    "null": "null",
    "none": "null",
    "nil": "null",
    "undefined": "null",
}
#: Names that other programs have for the decoded body.
FOREIGN_NAMES: Final = frozenset(
    {"msg", "message", "event", "data", "body", "this", "self", "root", "value", "it", "doc"}
)
ELEMENT_HINT: Final = "only values of a route with foreach have it; choose elements there: foreach: $[x for x in payload.lines if x.qty > 0]"
#: The hints, each with the names that other programs have for such a function.
_FOREIGN: Final[dict[str, str]] = {
    "it is called catch here: catch(payload.a, fallback)": "try or_else on_error try_cast rescue",
    "it is called default here: default(payload.a, fallback)": "get ifnull coalesce nvl if_null isnull or_default",
    "it is called has here: has(payload.a)": "exists defined isset present hasattr is_defined",
    "it is called type here: type(payload.a)": "typeof type_of kind",
    "it is called bool here: bool(payload.a)": "boolean to_bool parse_bool tobool",
    "it is called len here: len(payload.a)": "length size count strlen",
    'it is called strip here: strip(payload.a), or strip(payload.a, "#")': "trim strip_whitespace ltrim rtrim trim_prefix trim_suffix",
    "it is called lower here: lower(payload.a)": "tolower downcase lowercase lcase to_lower",
    "it is called upper here: upper(payload.a)": "toupper upcase uppercase ucase to_upper",
    'it is called replace here: replace(payload.a, "old", "new")': "replace_all gsub regsub str_replace substitute",
    'regexes replace nothing here: capture(payload.a, "regex") finds a part': "regex_replace re_replace re_sub sub regexreplace",
    'it is called matches here: matches(payload.a, "regex")': "match regex regex_match re_match regexp rlike",
    'it is called capture here: capture(payload.a, "regex")': "regex_find re_find parse_regex re_search extract regex_extract find regex_findall",
    'it is called split here: split(payload.a, ",")': "explode tokenize",
    'it is called starts_with here: starts_with(payload.a, "x")': "startswith has_prefix",
    'it is called ends_with here: ends_with(payload.a, "x")': "endswith has_suffix",
    'write "a" in payload.text': "contains includes str_contains index_of",
    'write f"{payload.a}-{payload.b}", or flatten([payload.a, payload.b]) for lists': "concat strcat append",
    'write f"{payload.a}-{payload.b}"': "format sprintf printf",
    'write f"{payload.a:0>5}"': "pad lpad rpad pad_left pad_right zfill rjust ljust",
    "write payload.a[:80]": "substring substr slice truncate left mid right",
    "it is called float here: float(payload.a)": "number to_number parse_float double tonumber to_float",
    "it is called int here: int(payload.a)": "integer to_int parse_int toint from_hex hex_to_int",
    "it is called str here: str(payload.a)": "string to_string tostring",
    "write int(payload.a // 1)": "floor trunc",
    "write -int(-payload.a // 1)": "ceil ceiling",
    "it is called decimal here: decimal(payload.a, 2)": "currency money to_fixed format_number",
    "write a % b": "mod",
    "write a ** b": "pow power",
    "write sum(payload.a) / len(payload.a)": "avg average mean",
    "write now(), milliseconds since 1970": "today date datetime current_timestamp time timestamp_unix_milli",
    'it is called timestamp here: timestamp(payload.a, "%d.%m.%Y", "Europe/Berlin")': "parse_timestamp strptime to_timestamp parse_time ts_parse todatetime from_unix_timestamp ts_strptime",
    'it is called format_time here: format_time(payload.a, "%d.%m.%Y", "Europe/Berlin")': "strftime format_timestamp ts_format date_format ts_strftime",
    'write int(format_time(payload.a, "%H", "Europe/Berlin"))': "hour minute second day month year",
    'it is called weekday here: weekday(payload.a, "Europe/Berlin")': "dayofweek day_of_week isoweekday",
    "times are milliseconds: write payload.a + 3600000 for an hour more, day_at(...) for a day": "duration timedelta as_timedelta add_days date_add interval ts_add_iso8601 parse_duration",
    "write [f(x) for x in payload.list]": "map map_each map_values for_each collect apply",
    "write [x for x in payload.list if x.a > 1]": "filter where select find_all grep",
    "write [x.a for x in payload.list]": "pluck",
    'write {"a": payload.a}': "pick only project",
    'it is called without here: without(payload, "a")': "omit del delete remove drop except",
    "write payload.list[0]": "first head",
    "write payload.list[-1]": "last tail",
    "it is called keys here: keys(payload)": "key_values object_keys",
    "it is called items here: items(payload)": "entries to_entries to_pairs",
    "it is called merge here: merge(payload.a, payload.b)": "assign extend merge_objects object_merge update combine",
    "it is called sort here: sort(payload.list)": "sorted sort_by order_by reverse",
    "it is called unique here: unique(payload.list)": "distinct uniq dedupe unique_by",
    "it is called flatten here: flatten(payload.list)": "flat collapse unnest",
    "it is called sum here: sum(payload.list)": "total",
    "it is called any here: any([x > 1 for x in payload.list])": "some any_of",
    "it is called all here: all([x > 1 for x in payload.list])": "every all_of",
    "it is called json here: json(payload.a)": "parse_json from_json json_parse fromjson json_decode",
    "it is called to_json here: to_json(payload.a)": "tojson stringify encode_json json_encode format_json dumps",
    "it is called base64 here: base64(payload.a)": "b64encode encode_base64 to_base64 base64_encode b64enc",
    "it is called base64_decode here: base64_decode(payload.a)": "b64decode decode_base64 from_base64 b64dec unbase64 frombase64",
    "it is called hex here: hex(payload.a)": "encode_hex to_hex hexlify hex_encode encode_base16",
    "it is called url_encode here: url_encode(payload.a)": "urlencode quote encode_percent uri_encode encodeuricomponent escape_url escape_url_query",
    "it is called url_decode here: url_decode(payload.a)": "urldecode unquote decode_percent uri_decode decodeuricomponent unescape_url_query",
    "it is called sha256 here: sha256(payload.a)": "sha2 hash digest sha_256",
    'write sha256(payload.a); hmac(key, payload.a, "sha512") signs': "sha512 sha384 sha3",
    "it is called bucket here: bucket(payload.a, 8)": "crc32 crc partition shard hash_mod",
    "it is called uuid5 here: uuid5(payload.a)": "uuid uuid_v5 uuid_v4 uuid4 guid uuid_v7 ksuid",
    'it is called hmac here: hmac(key, payload.a, "sha256")': "hmac_sha256 hmac_sha1 sign",
    'a line is taken apart by split(payload, ","), one with quotes by an actor': "csv parse_csv from_csv",
    "XML is read by an actor: pass it on as text (decode: text)": "xml parse_xml from_xml xpath",
    'write starts_with(payload.ip, "10."), or matches(payload.ip, "regex")': "cidr ip_cidr_contains ip ip_in_range",
    "an expression gives the same for the same event: nothing is drawn by chance": "random rand random_int",
    "write ${NAME} in a value; an expression reads the event only": "env getenv environ secret get_env_var",
    "write a if condition else b": "if iif ternary cond case",
}
#: The hint for the name of a function in another program, in lower case.
FOREIGN_FUNCTIONS: Final = {word: hint for hint, words in _FOREIGN.items() for word in words.split()}
#: Names are short, so a lower similarity than the default of `near_miss` is worth a hint.
SIMILARITY: Final = 0.6
METHODS: Final = {"startswith": "starts_with", "endswith": "ends_with", "loads": "json", "dumps": "to_json"}
#: The refused constructs in plain words, each with its hint.
REFUSED_CONSTRUCTS: Final[dict[type[ast.AST], tuple[str, str]]] = {
    ast.Lambda: ("a lambda", ""),
    ast.SetComp: ("a set", "write a list in [ ]"),
    ast.GeneratorExp: ("a comprehension without brackets", "write it in [ ]"),
    ast.NamedExpr: ("an assignment", "write '==' to compare"),
    ast.Await: ("'await'", ""),
    ast.Yield: ("'yield'", ""),
    ast.YieldFrom: ("'yield'", ""),
    ast.Starred: ("a starred value", ""),
    ast.Set: ("a set", "write a list in [ ]"),
    ast.MatMult: ("the operator '@'", ""),
    ast.BitAnd: ("the operator '&'", "write 'and' between conditions, payload.a // 4 % 2 == 1 for the bit of 4"),
    ast.BitOr: ("the operator '|'", "write 'or' between conditions"),
    ast.BitXor: ("the operator '^'", "write '**' for a power"),
    ast.LShift: ("the operator '<<'", "write payload.a * 2 ** 4"),
    ast.RShift: ("the operator '>>'", "write payload.a // 2 ** 4"),
    ast.Invert: ("the operator '~'", "write 'not'"),
}
_OPERATORS: Final = {
    "try": "it is called catch here: catch(payload.a, fallback)",
    "&&": "write 'and'",
    "||": "write 'or'",
    "!": "write 'not'",
    "=": "write '==' to compare",
    "?": "write 'a if condition else b'",
    "$": "'$' stands only before the whole value; a field is written payload.a",
    "===": "write '==' to compare",
    "!==": "write '!=' to compare",
    "<>": "write '!=' to compare",
    "=~": 'write matches(payload.a, "regex")',
    "??": "write default(payload.a, fallback)",
    "?.": "write default(payload.a.b, fallback)",
    "[*]": "write [0] for one element",
    "{{": "write the expression without braces",
    "and": "write 'and'",
    "or": "write 'or'",
    "not": "write 'not'",
    "like": 'write matches(payload.a, "regex")',
    "matches": 'write matches(payload.a, "regex")',
    "contains": 'write "a" in payload.text',
    "between": "write 1 <= payload.a <= 2",
}
#: Strings are skipped; then operators of other languages, then brackets, then a keyword as a field.
_TOKENS: Final = re.compile(
    r"""(?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|(?P<foreign>[=!]==|<>|=~|\?\?|\?\.|\[\*\]|\{\{|(?<![\w.])try(?=\s*\())"""
    r"""|[=!<>]=|(?P<sign>&&|\|\||[=!?$])|(?P<index>\.[0-9]+)(?=\W|$)"""
    r"""|(?<![\w.])(?P<word>AND|And|OR|Or|NOT|Not|like|LIKE|between|BETWEEN|contains|matches)\b(?!\s*\()"""
    rf"""|(?P<bracket>[()\[\]{{}}])|\.\s*(?P<keyword>{"|".join(keyword.kwlist)})\b"""
)

#: As in JSONPath's `$.a`, behind its dollar.
_FIELD_OF_NOTHING: Final = re.compile(r"\s*(\.[A-Za-z_]\w*)")

#: Words for a syntax error, by the beginning of Python's own, which differ from version to version.
_WORDS: Final = {
    "expected 'else'": ("an 'if' has no 'else'", "write a if condition else b"),
    "leading zeros": ("a number does not begin with 0", "a text stands in quotes"),
    "invalid decimal": ("not a valid number", 'a field such as 2fa is written payload["2fa"]'),
    "(unicode error)": ("a backslash in a text begins no character", r"write \\ for the sign"),
    "Generator expression": ("a comprehension without brackets can't stand here", "write it in [ ]"),
    "positional argument": ("a named argument can't be used in an expression", ""),
}


def words_for(message: str, sign: str) -> tuple[str, str]:
    """Return our message and hint for Python's `message` about an expression, of which it shows the character `sign`."""
    if message.startswith(("invalid character", "invalid non-printable")):
        hint = "a text stands in \" or in '" if sign in "\u201c\u201d\u201e\u2018\u2019\u00ab\u00bb" else ""
        return f"{sign!r} can't be used in an expression", hint
    return next((words for begin, words in _WORDS.items() if message.startswith(begin)), ("not a valid expression", ""))


def explain(text: str) -> None:
    """Raise InvalidValue if a wrong expression holds one of these mistakes."""
    if match := _FIELD_OF_NOTHING.match(text):
        raise InvalidValue(f"{match[1]!r} is a field of nothing", f"write payload{match[1]}", match.start(1))
    opened: list[re.Match[str]] = []
    for match in _TOKENS.finditer(text):
        sign = match.group()
        if match["foreign"] or match["sign"] or match["word"]:
            raise InvalidValue(f"{sign!r} can't be used in an expression", _OPERATORS[sign.lower()], match.start())
        if match["index"] and text[: match.start()][-1:].isidentifier():
            raise InvalidValue(f"{sign!r} is no field", f"write [{sign[1:]}] for an element of a list", match.start())
        if match["keyword"]:
            hint = f'write ["{match["keyword"]}"] for the field'
            raise InvalidValue(f"{match['keyword']!r} is a word of the language", hint, match.start("keyword"))
        if not match["bracket"]:
            continue
        if sign in "([{":
            opened.append(match)
        elif not opened or opened.pop().group() + sign not in ("()", "[]", "{}"):
            raise InvalidValue(f"{sign!r} closes nothing", offset=match.start())
    if opened:
        raise InvalidValue(f"{opened[-1].group()!r} is never closed", offset=opened[-1].start())
