"""`graph`: the way of the events, in formats that other programs draw; no name breaks them, and no secret is in them."""

from __future__ import annotations

import hashlib
import html
import itertools
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.commands import graph
from bridge.commands.graph_formats import as_dot, as_mermaid, as_text
from bridge.commands.graph_model import Drawing, draw_state
from bridge.model.accounting import RouteCounts
from bridge.model.state import BridgeState, RouteState, SourceState
from bridge.observe.log_fields import escape
from tests.commands.conftest import CONFIG, Terminal
from tests.support.admin_server import AdminServer, Bridge, make_state

#: Names that mean something in one of the formats.
HOSTILE = (
    *("end", "graph", "subgraph", "node", "strict", "click", "default", "dead", "o", "x", "style a fill:#f00"),
    *('"', '"]; a["', "#quot;", "#35;", "&amp;", "&lt;b&gt;", "<b>x</b>", "<br/>", "<script>alert(1)</script>"),
    *("`a`", "*a*", "_a_", "__a__", "~~a~~", "1. a", "1) a", "- a", "+ a", "# a", "> a", "    a", "|", "||", "a|b|c"),
    *(
        "\\",
        "\\n",
        "\\N",
        '\\"',
        "a\\",
        "a\nb",
        "a\r\nb",
        "a\tb",
        "\x1b[31m",
        "\u2028",
        "\u202e",
        "\x00",
        "$$x$$",
        "%%{init: {}}%%",
    ),
    *(
        "%% a",
        "fa:fa-car",
        "www.example.com",
        "https://example.com",
        "grüße",
        "日本語",
        "🚒",
        "a]",
        "[a",
        "(a)",
        "{a}",
        "{{a}}",
    ),
    *("-->", "---", "-.->", "a --> b", ":::x", ";", "a;b", "//", "/*", "*/", "=", "@{ shape: x }", "é", "e\u0301", ""),
)


def _state(names: list[str]) -> BridgeState:
    """Return the state of a bridge in which every name is one of these."""
    last = names[-1]
    targets, steps = [(names[0], last), (last, last)], [(last, names[0]), (names[0], names[0])]
    routes = {
        name: RouteState(name, name, name, name, name, targets=targets, steps=steps, otherwise=name == last)
        for name in names
    }
    return make_state(sources={name: SourceState(name) for name in names}, routes=routes, queues={}, namespace=names[0])


def _shown(drawing: Drawing) -> tuple[list[str], set[tuple[str, str]]]:
    """Return the labels of all nodes in a drawing, and its edges between labels."""
    labels, edges = [], set()
    dead = f"dead letters\n{drawing.dead_letters}"
    for source in drawing.sources:
        own = f"{source.name} ({source.type})"
        labels.append(own)
        edges.add((own, dead))
        for route in source.routes:
            parts = [route.name, route.topic, route.when and f"when {route.when}"]
            label = "\n".join(part for part in parts if part)
            labels.append(label)
            edges |= {(own, label), *((label, actor) for _, actor in route.targets)}
            chain = [actor for _, actor in route.steps]
            edges |= {(actor, chain[0]) for _, actor in route.targets} | set(itertools.pairwise(chain))
    labels += [actor for actors in drawing.targets().values() for actor in actors]
    return sorted([*labels, dead]), edges


_NODE = re.compile(r' +([a-z]+\d*)(\(\[|\[\(|\[)"([^"\n]*)"(\]\)|\)\]|\])')
_EDGE = re.compile(r'  ([a-z]\d+) (?:-->|-\.->)(?:\|"[^"\n]*"\|)? ([a-z]+\d*)')
#: A label of Mermaid in which no sign is markup.
_SAFE = re.compile(r"(?:#\d+;|<br/>|[ /,(=)]|[^\W_]|(?<=[^\W_])(?<!www)[._-](?=[^\W_]))*")


def _read_mermaid(text: str) -> tuple[list[str], set[tuple[str, str]]]:
    """Read a flowchart strictly: every line is one that `graph` may write, and the labels hold no markup."""
    first, *lines = text.splitlines()
    assert first == "flowchart LR"
    nodes: dict[str, str] = {}
    edges = set()
    depth = 0
    for line in lines:
        if node := _NODE.fullmatch(line):
            assert {"([": "])", "[(": ")]", "[": "]"}[node[2]] == node[4]
            assert _SAFE.fullmatch(node[3]), node[3]
            assert node[1] not in nodes
            nodes[node[1]] = re.sub(r"#(\d+);", lambda one: chr(int(one[1])), node[3].replace("<br/>", "\n"))
        elif edge := _EDGE.fullmatch(line):
            edges.add((nodes[edge[1]], nodes[edge[2]]))
        else:
            inside = re.fullmatch(r'  (subgraph q\d+\["([^"\n]*)"\]|end)', line)
            assert inside is not None, line
            assert inside[2] is None or _SAFE.fullmatch(inside[2])
            depth += 1 if inside[2] is not None else -1
            assert depth in {0, 1}
    assert depth == 0
    return sorted(nodes.values()), edges


_TOKEN = re.compile(r'\s*(?:"((?:[^"\\\n]|\\.)*)"|([A-Za-z_]\w*)|(->|[{}\[\];,=]))')


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    """Yield the tokens of DOT, as Graphviz's scanner does: a kind, and the text."""
    at = 0
    while at < len(text.rstrip()):
        token = _TOKEN.match(text, at)
        assert token is not None, text[at : at + 80]
        at = token.end()
        if token[1] is not None:
            yield "label", _label(token[1])
        else:
            yield ("word", token[2]) if token[2] else ("sign", token[3])


def _label(raw: str) -> str:
    """Return the text that Graphviz shows for the inside of quotes; no escape but these is right in it."""
    known = {'\\"': '"', "\\\\": "\\", "\\n": "\n"}
    return html.unescape(re.sub(r"\\.", lambda escaped: known[escaped[0]], raw))


def _read_dot(text: str) -> tuple[list[str], set[tuple[str, str]]]:
    """Read a digraph strictly, by the grammar of the statements that `graph` may write."""
    nodes: dict[str, str] = {}
    edges = set()
    statement: list[tuple[str, str]] = []
    depth = 0
    for kind, token in _tokens(text):
        if kind == "sign" and token in "{};":
            depth += {"{": 1, "}": -1, ";": 0}[token]
            words = [each for _, each in statement]
            label = next((each for each_kind, each in statement if each_kind == "label"), None)
            if token == "{":
                assert words[0] == "digraph" if depth == 1 else words[0] == "subgraph"
            elif "->" in words:
                edges.add((nodes[words[0]], nodes[words[2]]))
            elif label is not None and words[1] == "[":
                assert re.fullmatch(r"[sra]\d+|dead", words[0])
                assert words[0] not in nodes
                nodes[words[0]] = label
            statement = []
        else:
            statement.append((kind, token))
    assert depth == 0
    assert not statement
    return sorted(nodes.values()), edges


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_with_signs(name: str) -> None:
    """Each node and each edge is there, under its own name, in both formats."""
    drawing = draw_state(_state([name, "other"]))
    assert _read_mermaid("\n".join(as_mermaid(drawing))) == _shown(drawing)
    assert _read_dot("\n".join(as_dot(drawing))) == _shown(drawing)
    shown = "\n".join(as_text(drawing))
    assert shown.count("\n") == 5
    assert shown.replace("\n", "").isprintable()


@given(st.lists(st.text(max_size=20), min_size=1, max_size=4, unique_by=escape))
def test_all_names(names: list[str]) -> None:
    """Whatever they are."""
    drawing = draw_state(_state(names))
    assert _read_mermaid("\n".join(as_mermaid(drawing))) == _shown(drawing)
    assert _read_dot("\n".join(as_dot(drawing))) == _shown(drawing)


def test_graphviz_reads_it(tmp_path: Path) -> None:
    """Graphviz itself, where it is installed, shows the labels that the test's own reader finds."""
    drawing = draw_state(_state([name for name in HOSTILE if name.isprintable()]))
    text = "\n".join(as_dot(drawing))
    labels, _ = _read_dot(text)
    assert labels == _shown(drawing)[0]
    if shutil.which("dot"):
        done = subprocess.run(["dot", "-Tplain"], input=text, capture_output=True, text=True, timeout=60, check=True)
        assert done.stderr == ""
        assert done.stdout.count("\nnode ") == len(labels)


def test_a_file(run: Terminal) -> None:
    """Without a daemon: sources in the file's order, each with its routes, their conditions, actors and queues."""
    assert run("graph", "CONFIG").splitlines() == [
        "plant (mqtt)",
        "  hot: plants/{plant}/ovens/{oven} when payload.celsius > 250 and not meta.retain -> raise_alarm (queue alarms)",
        "  note: plants/# -> note (queue default)",
        "  dead letters -> workers-bridge:dead-letters",
        "orders (amqp)",
        "  reserve: order.# -> reserve (queue default)",
        "  dead letters -> workers-bridge:dead-letters",
        "idle (redis-pubsub)",
        "  no route",
        "  dead letters -> workers-bridge:dead-letters",
    ]
    for format_, read in (("mermaid", _read_mermaid), ("dot", _read_dot)):
        first, again = (run("graph", "CONFIG", "--format", format_) for _ in range(2))
        assert first == again
        labels, edges = read(first)
        assert "hot\nplants/{plant}/ovens/{oven}\nwhen payload.celsius > 250 and not meta.retain" in labels
        assert ("orders (amqp)", "reserve\norder.#") in edges
        assert ("reserve\norder.#", "reserve") in edges
        assert ("idle (redis-pubsub)", "dead letters\nworkers-bridge:dead-letters") in edges


@pytest.mark.parametrize("format_", ["text", "mermaid", "dot"])
def test_no_secret_is_drawn(run: Terminal, path: Path, monkeypatch: pytest.MonkeyPatch, format_: str) -> None:
    """The value of a variable in a condition is masked; a variable without a value is no mistake."""
    monkeypatch.setenv("ALARM_KEY", 's3cret-"key"')
    path.write_text(
        CONFIG.replace("payload.celsius > 250", "payload.key == '${ALARM_KEY}'").replace("u,", "'${NONE}',")
    )
    text = run("graph", "CONFIG", "--format", format_)
    assert "key" in text
    assert "***" in text.replace("#42;", "*")


def test_a_file_with_mistakes(run: Terminal, path: Path) -> None:
    """Exit code 78, and the mistakes as `check` shows them."""
    path.write_text(CONFIG.replace("queue: alarms", "queue: __alarms"))
    assert run("graph", "CONFIG", code=78) == ""
    assert "cannot begin with __" in run.err


def test_nothing_to_draw(run: Terminal) -> None:
    """The words name the arguments."""
    run("graph", code=2)
    assert "graph takes CONFIG, or --admin ADDRESS of a running bridge, or --live" in run.err


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> Iterator[AdminServer]:
    """The admin server of a bridge to which 100 events come between two looks, a quarter of a second apart."""

    class Busy(Bridge):
        def state(self) -> BridgeState:
            plant = self.now.sources["plant"]
            plant.counts.received += 100
            plant.counts.dead_lettered += 5
            plant.counts.routes["hot"].add(RouteCounts(40, 55, 5))
            return self.now

    monkeypatch.setattr(graph, "INTERVAL_S", 0.25)
    with AdminServer(Busy()) as server:
        yield server


_RATES = re.compile(r"[\d.,]+(?=/s)")


def test_a_running_bridge(run: Terminal, busy: AdminServer) -> None:
    """With `--admin` alone its own routes are drawn, with the events a second; the parts of a sum add up to it."""
    busy.bridge.now.routes["note"].paused = True
    busy.bridge.now.sources["orders"].paused = True
    text = run("graph", "--admin", busy.listen)
    lines = text.splitlines()
    assert [re.sub(r"  \[.*\]", "", line) for line in lines] == [
        "plant (mqtt)",
        "  hot: plants/+/ovens/+ when payload.celsius > 250 -> raise_alarm (queue alarms)",
        "  note, paused: plants/# -> note (queue default)",
        "  dead letters -> workers-bridge:dead-letters",
        "orders (amqp), paused",
        "  reserve: order.# -> reserve (queue default)",
        "  dead letters -> workers-bridge:dead-letters",
    ]
    (came,) = map(float, _RATES.findall(lines[0]))
    matched, of, dead = map(float, _RATES.findall(lines[1]))
    assert came > 0
    assert of == came
    assert matched == pytest.approx(came * 0.4, rel=0.02)
    assert dead == pytest.approx(came * 0.05, rel=0.02)
    assert lines[5].endswith("[0/s of 0/s]")
    for format_, read in (("mermaid", _read_mermaid), ("dot", _read_dot)):
        drawn = run("graph", "--admin", busy.listen, "--format", format_)
        read(re.sub(r'(\(mqtt\)|paused|\(amqp\))[^"]*/s"', r'\1"', drawn))
        assert len(_RATES.findall(drawn)) >= 9


def test_a_file_and_its_bridge(run: Terminal, busy: AdminServer, path: Path) -> None:
    """`CONFIG --live` draws the file, with the rates of the bridge that its `admin:` names; another text is noted."""
    path.write_text(f"{CONFIG}admin: {{listen: '{busy.listen}'}}\n")
    text = run("graph", "CONFIG", "--live")
    assert re.search(r"^plant \(mqtt\)  \[\d+/s\]$", text, re.MULTILINE)
    assert re.search(r"hot: plants/\{plant\}.* \[\d+/s of \d+/s, ", text)
    assert "idle (redis-pubsub)\n" in text
    assert "has loaded another text than this file: `dramatiq-bridge reload` loads it" in run.err
    busy.bridge.now.fingerprint = hashlib.sha256(path.read_bytes()).hexdigest()
    run("graph", "CONFIG", "--admin", busy.listen)
    assert run.err == ""


def test_no_running_bridge(run: Terminal, path: Path) -> None:
    """`--live` needs one, and the words say which is missing."""
    path.write_text(f"{CONFIG}admin: {{listen: 'unix:{path.parent}/gone.sock'}}\n")
    run("graph", "CONFIG", "--live", code=1)
    assert "gone.sock: is the bridge running" in run.err
