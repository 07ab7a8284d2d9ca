// The bar on top: undo, redo, the session's name, whether it is saved, and the work that is going on.

import {attrs, button, h, iconButton, text} from "./dom.js";

const KINDS = {render: "Final picture", fit: "Fit", prepare: "Preparing"};

/** "3 of 200 · 12 s left" */
export function progressOf(job) {
  const parts = [job.stage && job.stage !== job.kind ? job.stage : "",
    job.steps > 1 ? `${job.step} of ${job.steps}` : "",
    job.seconds_left > 0 ? `${remaining(job.seconds_left)} left` : ""];
  return parts.filter(Boolean).join(" · ");
}

function remaining(seconds) {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  return `${Math.round(seconds / 60)} min`;
}

export const busy = (job) => Boolean(job && (job.state === "waiting" || job.state === "running"));

export class TopBar {
  constructor(node, store, actions, help) {
    this.undo = iconButton("undo", "Undo (Ctrl+Z)", () => actions.step("undo"), {testid: "undo"});
    this.redo = iconButton("redo", "Redo (Ctrl+Shift+Z)", () => actions.step("redo"), {testid: "redo"});
    this.name = h("span", {class: "name"});
    this.saved = h("span", {class: "saved", testid: "saved"});
    this.words = h("span", {class: "words", role: "status"});
    this.bar = h("progress", {"aria-label": "Progress", max: 1, value: 0});
    this.cancel = button("Cancel", () => actions.cancel(), {testid: "cancel"});
    this.job = h("div", {class: "job", testid: "job-progress", hidden: true}, this.words, this.bar, this.cancel);
    node.append(h("span", {class: "brand"}, "dipir ", h("b", {}, "studio")), this.undo, this.redo, this.name,
      this.saved,
      h("span", {class: "gap"}), this.job, button("?", help, {class: "icon-button", "aria-label": "Keyboard shortcuts",
        title: "Keyboard shortcuts (?)"}));
  }

  update(state, ui) {
    attrs(this.undo, {disabled: state?.undo ? null : ""});
    attrs(this.redo, {disabled: state?.redo ? null : ""});
    text(this.name, state?.plate?.name ?? "no photo yet");
    this.name.title = state?.session ? `Session ${state.session}` : "";
    text(this.saved, !ui.connected ? "not connected" : !state?.plate ? "" : state.saved ? "saved" : "saving…");
    this.saved.classList.toggle("bad", !ui.connected);
    const job = state?.job, on = busy(job) || Boolean(ui.upload);
    this.job.hidden = !on;
    if (!on) return;
    const share = ui.upload ? ui.upload.share : job.steps > 1 ? job.step / job.steps : null;
    text(this.words, ui.upload ? `Sending ${ui.upload.name}` : job.state === "waiting"
      ? `${KINDS[job.kind] ?? job.kind} waits`
      : `${KINDS[job.kind] ?? job.kind}: ${progressOf(job) || "starting"}`);
    this.words.title = this.words.textContent;
    if (share === null) this.bar.removeAttribute("value"); else this.bar.value = share;
    this.cancel.hidden = Boolean(ui.upload) || job.kind === "prepare";
  }
}
