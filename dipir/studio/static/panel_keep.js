// Tab "Keep": the final picture, what can be taken home, the command.

import {button, h, icon, rebuilt, text} from "./dom.js";
import {field, fold, group} from "./controls.js";
import {api} from "./net.js";
import {busy, progressOf} from "./topbar.js";

const FINAL = {"composite.png": "The picture", "composite.exr": "The picture, linear light",
  "composite.dpx": "The picture, the photo's logarithmic codes",
  "layers.exr": "Layers, linear light",
  "light.exr": "The light as a panorama", "report.html": "Report", "result.zip": "All of it"};
const SOME = ["composite.exr", "composite.dpx"];
const ALWAYS = {"light.json": "The light, lamps with names", "scene.yaml": "The scene"};

/** A time of the server as people here write it. */
function timeOf(when) {
  const time = new Date(when.replace(/([+-]\d\d)(\d\d)$/, "$1:$2"));
  return Number.isNaN(time.getTime()) ? when : time.toLocaleString();
}

export class PanelKeep {
  constructor(node, store, actions) {
    Object.assign(this, {store, actions});
    this.size = h("select", {"aria-label": "Size of the final picture", testid: "render-size",
      on: {change: () => store.changed()}},
      h("option", {value: "full"}, "as the photo"), h("option", {value: "half"}, "half of it"),
        h("option", {value: "own"}, "other"));
    this.width = field({label: "Width", testid: "render-width", min: 16, max: 20000, unit: "px", digits: 0});
    this.samples = field({label: "Samples", testid: "render-spp", min: 1, max: 4096, digits: 0, placeholder: "usual"});
    this.go = button("Render (R)", () => this.render(), {testid: "render", class: "primary"});
    this.words = h("p", {class: "under", role: "status"});
    this.bar = h("progress", {max: 1, value: 0, "aria-label": "Progress of the final picture", hidden: true});
    this.stop = button("Cancel", () => actions.cancel(), {hidden: true, "aria-label": "Cancel the final picture"});
    this.done = h("ul", {class: "finished"});
    this.files = h("ul", {class: "downloads"});
    this.command = h("pre", {testid: "command", tabindex: 0, "aria-label": "The command"});
    this.copied = h("span", {class: "under", role: "status"});
    node.append(group("Final picture", h("label", {class: "field"}, h("span", {class: "label"}, "Size"), this.size),
      this.width.node,
      this.samples.node, h("div", {class: "row"}, this.go, this.stop), this.bar, this.words),
    group("Downloads", this.files, fold("Finished", false, this.done)),
    group("The same by the command line", this.command,
      h("div", {class: "row"}, h("button", {type: "button", on: {click: () => this.copy()}}, icon("copy"),
      " Copy the command"), this.copied)));
    this.shownRev = -1;
  }

  /** Width and height that are asked for; null: as the photo. */
  sizes() {
    const plate = this.store.state?.plate;
    if (!plate || this.size.value === "full") return null;
    const width = this.size.value === "half" ? Math.round(plate.width / 2) : Math.round(this.width.field.valueAsNumber
      || plate.width);
    return [width, Math.max(1, Math.round(width * plate.height / plate.width))];
  }

  async render() {
    if (this.asking || busy(this.store.state?.job) || !this.store.state?.objects.length) return;
    const spp = this.samples.field.valueAsNumber;
    this.asking = true;
    this.store.changed();
    await this.actions.render(this.sizes(), Number.isFinite(spp) ? Math.round(spp) : null);
    this.asking = false;
    this.store.changed();
  }

  async copy() {
    const words = this.command.textContent;
    try {
      await navigator.clipboard.writeText(words);
      text(this.copied, "Copied.");
    } catch {
      // Without leave to write the clipboard: selected, so that Ctrl+C copies it.
      getSelection().selectAllChildren(this.command);
      text(this.copied, "Selected: press Ctrl+C.");
    }
    setTimeout(() => text(this.copied, ""), 4000);
  }

  async fetchCommand(rev) {
    this.shownRev = rev;
    try {
      const words = await api("/api/command");
      if (this.shownRev === rev) text(this.command, String(words).trim());
    } catch (problem) { text(this.command, problem.message); }
  }

  update(state, ui, settled) {
    const job = state?.job, rendering = busy(job) && job.kind === "render";
    this.go.disabled = !state?.objects.length || busy(job) || Boolean(this.asking);
    this.stop.hidden = this.bar.hidden = !rendering;
    this.width.node.hidden = this.size.value !== "own";
    const plate = state?.plate;
    if (plate && this.width.field.value === "") this.width.set(plate.width);
    text(this.words, this.said(job, rendering));
    if (rendering) { if (job.steps > 1) this.bar.value = job.step / job.steps; else this.bar.removeAttribute("value"); }
    const finished = state?.finished ?? [], newest = finished.find((f) => f.kind === "render");
    const files = newest?.files;
    rebuilt(this.files, JSON.stringify([Boolean(plate), newest?.id, newest?.when, files]), () => [
      ...Object.entries(FINAL).filter(([name]) => (files ? files.includes(name) : !SOME.includes(name))).map(([name,
        words]) => this.link(name, words, Boolean(newest))),
      ...Object.entries(ALWAYS).map(([name, words]) => this.link(name, words, Boolean(plate)))]);
    rebuilt(this.done, JSON.stringify(finished),
      () => finished.map((f) => h("li", {}, `${f.kind === "fit" ? "Fit" : "Final picture"}, ${timeOf(f.when)}`)));
    if (ui.tab === "keep" && settled?.plate && settled.rev !== this.shownRev) this.fetchCommand(settled.rev);
  }

  /** What is going on, else the size that would be made. */
  said(job, rendering) {
    if (this.asking) return "Asked for.";
    if (rendering) return job.state === "waiting" ? "Waits for its turn." : progressOf(job) || "Starting.";
    if (job?.kind === "render" && job.state === "failed") return `It failed: ${job.error}`;
    if (job?.kind === "render" && job.state === "cancelled") return "Cancelled.";
    const plate = this.store.state?.plate, size = this.sizes() ?? (plate ? [plate.width, plate.height] : null);
    return size ? `${size[0]} × ${size[1]} pixels.` : "";
  }

  link(name, words, on) {
    const inside = [icon("down"), h("span", {}, h("b", {}, name), h("small", {}, words))];
    const testid = name === "composite.png" ? "download-composite" : `download-${name.replace(".", "-")}`;
    return h("li", {}, on ? h("a", {href: `/api/download/${name}`, download: name, testid}, ...inside)
      : h("span", {class: "off", title: "After the first final picture"}, ...inside));
  }
}
