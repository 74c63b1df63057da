// The page: takes the events of the stream, and has every part draw them.

import { byId, mark, say } from "./dom.js";
import { Detail } from "./detail.js";
import { Flow } from "./flow.js";
import { help, obey } from "./keys.js";
import { Letters } from "./letters.js";
import { Model } from "./model.js";
import { Session } from "./session.js";
import { Stream } from "./stream.js";
import { Trial } from "./trial.js";
import { Vitals } from "./vitals.js";

const TABS = ["letters", "trial", "detail"];

const model = new Model();
const session = new Session(() => {
  letters.refresh();
  detail.render();
});
const flow = new Flow(model, select);
const vitals = new Vitals(model);
const detail = new Detail(model, session);
const trial = new Trial(model, session);
const letters = new Letters(model, session, (letter) => {
  open("trial");
  trial.fill(letter);
});
let lost = null;
let shown = "letters";

function draw() {
  if (document.hidden) return;
  if (!model.head) {
    say(byId("ready"), lost === null ? "connecting" : "no connection: trying again");
    return;
  }
  vitals.render(lost);
  flow.render();
  detail.render();
  trial.render();
  letters.render(lost === null);
}

function open(tab) {
  shown = tab;
  for (const each of TABS) {
    byId(each).hidden = each !== tab;
    mark(byId(`tab-${each}`), "aria-selected", String(each === tab));
    byId(`tab-${each}`).tabIndex = each === tab ? 0 : -1;
  }
  draw();
}

function select(kind, name) {
  if (kind === "dead") {
    open("letters");
    return;
  }
  flow.choose(`${kind} ${name}`);
  detail.show(kind, name);
  open("detail");
  // On a phone the panel lies below the flow.
  const panel = byId("side");
  if (panel.getBoundingClientRect().top > window.innerHeight * 0.8) panel.scrollIntoView({ block: "start" });
}

function focus(tab) {
  open(tab);
  byId(`tab-${tab}`).focus();
}

for (const tab of TABS) byId(`tab-${tab}`).addEventListener("click", () => open(tab));
byId("side").querySelector("[role=tablist]").addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (step) focus(TABS[(TABS.indexOf(shown) + step + TABS.length) % TABS.length]);
});

const search = byId("search");
search.addEventListener("input", () => flow.search(search.value));
search.addEventListener("keydown", (event) => {
  if (event.key === "Enter" || event.key === "ArrowDown") byId("canvas").querySelector(".node[tabindex='0']")?.focus();
});

obey({
  "/": () => search.select() ?? search.focus(),
  Escape: () => {
    search.value = "";
    flow.search("");
    if (document.activeElement === search) byId("flow").focus();
  },
  "?": help,
  f: () => byId("canvas").querySelector(".node[tabindex='0']")?.focus(),
  d: () => focus("letters"),
  t: () => {
    open("trial");
    trial.source.focus();
  },
  k: () => session.access === "token" && session.ask(),
  p: () => {
    const [kind, ...name] = (document.activeElement.closest(".node")?.dataset.key ?? "").split(" ");
    if ((kind === "source" || kind === "route") && (detail.kind !== kind || detail.name !== name.join(" "))) select(kind, name.join(" "));
    detail.pause();
  },
});

open("letters");
document.addEventListener("visibilitychange", draw);
new Stream((name, value) => {
  model.take(name, value);
  if (name === "hello") session.take(value.access);
  else draw();
}, (since) => {
  lost = since;
  draw();
});
