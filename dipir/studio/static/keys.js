// The keyboard.

import {button, h} from "./dom.js";
import {clamp, round, wrap} from "./geometry.js";

const SHORTCUTS = [["Ctrl + Z", "undo"], ["Ctrl + Shift + Z", "redo"], ["B", "before and after"],
  ["F", "fit the picture"],
  ["1", "one pixel of the photo on one of the screen"],
    ["← →", "turn the sun (the chosen lamp) by 1°, with Shift by 10°"],
  ["↑ ↓", "raise or lower it"], ["G", "grid of the ground"], ["R", "render the final picture"],
    ["Enter", "skip the last click of a match"],
  ["Esc", "leave a match, cancel a dialogue"], ["wheel", "zoom; over the object on Place: turn it"],
    ["Alt + drag", "move the view; two fingers on touch"],
  ["?", "this list"]];

/** The list of shortcuts. */
export function showHelp() {
  if (document.getElementById("help")) return;
  const box = h("dialog", {id: "help", "aria-label": "Keyboard shortcuts", on: {close: () => box.remove()}},
    h("h2", {}, "Keyboard"),
    h("dl", {}, ...SHORTCUTS.flatMap(([key, what]) => [h("dt", {}, key), h("dd", {}, what)])),
      button("Close", () => box.close(), {class: "primary"}));
  document.body.append(box);
  box.showModal();
}

const writes = (node) => node instanceof HTMLTextAreaElement || node instanceof HTMLSelectElement
  || (node instanceof HTMLInputElement && !["range", "checkbox", "color", "file", "button"].includes(node.type));

export function listenKeys({store, actions, stage, match, render}) {
  addEventListener("keydown", (e) => {
    const key = e.key.length === 1 ? e.key.toLowerCase() : e.key;
    if (writes(e.target) || document.querySelector("dialog[open]")) return;
    if ((e.ctrlKey || e.metaKey) && !e.altKey) {
      if (key === "z" || key === "y") {
        e.preventDefault();
        actions.step(key === "y" || e.shiftKey ? "redo" : "undo");
      }
      return;
    }
    if (e.altKey) return;
    const does = {b: () => store.set({before: !store.ui.before}), f: () => stage.fit(), 1: () => stage.oneToOne(),
      "?": showHelp,
      g: () => store.set({grid: !store.ui.grid, gridAlways: !store.ui.grid && store.ui.tab !== "open"}), r: render,
        Escape: () => match.stop(),
      Enter: () => { if (store.ui.match?.length === 2) match.send(); else return false; },
      ArrowLeft: () => turn(e, -1, 0), ArrowRight: () => turn(e, 1, 0), ArrowUp: () => turn(e, 0, 1),
        ArrowDown: () => turn(e, 0, -1)}[key];
    if (does && does() !== false) e.preventDefault();
  });

  function turn(e, azimuth, elevation) {
    const lamp = store.lamp, role = e.target.getAttribute?.("role");
    if (!lamp || e.target.type === "range" || role === "tab" || role === "slider") return false;
    const step = e.shiftKey ? 10 : 1;
    actions.soon({op: "lamp", name: lamp.name, azimuth_deg: round(wrap(lamp.azimuth_deg + azimuth * step), 2),
      elevation_deg: round(clamp(lamp.elevation_deg + elevation * step, -90, 90), 2)});
    return true;
  }
}
