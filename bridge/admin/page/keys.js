// The keyboard: shortcuts that no text field sees, and the dialog that lists them.

import { byId, h } from "./dom.js";

const LISTED = [
  ["/", "Search"],
  ["← ↑ ↓ →", "Move in the flow"],
  ["Enter", "Show the detail of a node"],
  ["p", "Pause or resume it"],
  ["f", "To the flow"],
  ["d", "Dead letters"],
  ["t", "Try an event"],
  ["k", "Enter the token"],
  ["Esc", "End the search, close a dialog"],
  ["?", "These shortcuts"],
];

/** Obey `actions`, a function by its key. */
export function obey(actions) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const isTyping = event.target.closest("input, textarea, select, [contenteditable]");
    if (document.querySelector("dialog[open]") || (isTyping && event.key !== "Escape")) return;
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
  byId("help").addEventListener("click", help);
}

export function help() {
  const dialog = byId("help-dialog");
  const close = h("button", { type: "button", on: { click: () => dialog.close() } }, "Close");
  dialog.replaceChildren(h("h2", { id: "help-title" }, "Keyboard"),
    h("dl", { class: "keys" }, ...LISTED.map(([key, words]) => h("div", {}, h("dt", {}, ...key.split(" ").map((each) => h("kbd", {}, each))), h("dd", {}, words)))),
    h("div", { class: "actions" }, close));
  dialog.showModal();
  close.focus();
}
