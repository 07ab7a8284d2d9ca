// The line at the foot: the newest error or note, and a list of the rest.

import {h, iconButton, text} from "./dom.js";

const KEPT = 60;
const ONCE_MS = 4000;

export class Messages {
  constructor(foot) {
    this.line = h("output", {id: "message", testid: "message", role: "status", "aria-live": "polite"});
    this.more = h("button", {type: "button", class: "quiet", "aria-expanded": "false", "aria-controls": "notes",
      hidden: true,
      on: {click: () => this.toggle()}});
    this.shut = iconButton("close", "Dismiss the message", () => this.clear(), {hidden: true});
    this.list = h("ul", {id: "notes", hidden: true, "aria-label": "Earlier messages"});
    foot.append(this.line, this.shut, this.more, this.list);
    this.all = [];
    this.known = new Set();
    this.sticky = null;
  }

  /** A fault, in red; the same words within a few seconds are one message. */
  error(words) {
    this.say(words, "error");
  }

  /** Notes are part of the state too: each is said once. */
  note(words) {
    this.notes([words]);
  }

  notes(list) {
    for (const words of list) {
      if (this.known.has(words)) continue;
      this.known.add(words);
      this.say(words, "note");
    }
  }

  /** Stays until it is taken back with null: the connection. */
  hold(words) {
    this.sticky = words;
    this.show();
  }

  say(words, kind) {
    const now = Date.now();
    const last = this.all[0];
    if (last && last.words === words && now - last.at < ONCE_MS) return;
    this.all.unshift({words, kind, at: now, shown: true});
    this.all.length = Math.min(this.all.length, KEPT);
    this.show();
  }

  clear() {
    for (const message of this.all) message.shown = false;
    this.show();
  }

  toggle() {
    this.list.hidden = !this.list.hidden;
    this.more.setAttribute("aria-expanded", String(!this.list.hidden));
  }

  show() {
    // An error is not covered by a note that comes after it; it goes when it is dismissed or another error comes.
    const fresh = this.all.filter((m) => m.shown);
    const top = fresh.find((m) => m.kind === "error" && Date.now() - m.at < 20000) ?? fresh[0];
    text(this.line, this.sticky ?? top?.words ?? "");
    this.line.className = this.sticky ? "error" : top?.kind ?? "";
    this.shut.hidden = this.sticky !== null || !top;
    this.more.hidden = this.all.length < 2;
    text(this.more, `${this.all.length} messages`);
    this.list.replaceChildren(...this.all.map((m) => h("li", {class: m.kind}, m.words)));
  }
}
