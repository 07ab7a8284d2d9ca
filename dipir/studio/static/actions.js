// What a person does, on its way to the server: drags, changes, requests, files.

import {api, upload} from "./net.js";
import {button, h} from "./dom.js";

const REST_MS = 450;
const ASSETS = ["glb", "gltf", "obj", "ply", "stl"];
const PHOTOS = ["jpg", "jpeg", "png"];
const CAMERAS = ["yaml", "yml", "json", "fspy"];

export class Actions {
  constructor(store, live, messages) {
    Object.assign(this, {store, live, messages});
    this.late = null;
    this.sending = 0;
  }

  /** A change while something is dragged. */
  drag(edit) {
    this.flush(edit);
    this.store.expect(edit, false);
    this.live.drag(edit);
  }

  /** A change that stays. */
  commit(edit) {
    this.flush(edit);
    this.store.expect(edit, true);
    this.live.commit(edit).catch((problem) => this.refused(problem));
  }

  /** Shown at once, and kept when nothing follows for a moment: keys and the wheel. */
  soon(edit) {
    this.drag(edit);
    this.late = {edit, timer: setTimeout(() => this.flush(), REST_MS)};
  }

  flush(next = null) {
    const late = this.late;
    if (!late) return;
    clearTimeout(late.timer);
    this.late = null;
    const same = next && next.op === late.edit.op && next.name === late.edit.name && next.object === late.edit.object;
    if (!same) this.commit(late.edit);
  }

  refused(problem) {
    this.store.forget();
    this.messages.error(problem.message);
  }

  /** A request whose answer holds the new state; false when it was refused. */
  async post(path, body = {}, method = "POST") {
    this.flush();
    try {
      const answer = await api(path, method, body);
      if (answer?.state) this.store.receive(answer.state);
      return true;
    } catch (problem) {
      this.refused(problem);
      return false;
    }
  }

  /** Undo or redo. */
  async step(way) {
    this.flush();
    await this.post(`/api/${way}`);
  }

  render(size, spp) {
    return this.post("/api/job", {kind: "render", size, spp});
  }

  fit(steps) {
    return this.post("/api/job", {kind: "fit", steps});
  }

  cancel() {
    return this.post("/api/job", undefined, "DELETE");
  }

  // ---- files ----
  /** Files that were dropped or chosen; kind: what they are when that is known. */
  async files(list, kind = null) {
    const sorted = [...list].map((file) => ({file, kind: kind ?? this.kindOf(file)}));
    for (const one of sorted.filter((f) => f.kind === "ask")) one.kind = await this.ask(one.file);
    const order = {plate: 0, camera: 1, hdri: 2, asset: 3};
    const known = sorted.filter((f) => f.kind in order).sort((a, b) => order[a.kind] - order[b.kind]);
    for (const {file} of sorted.filter((f) => f.kind === "unknown")) {
      this.messages.error(`${file.name}: not a file that is used here. Accepted are photos (JPEG, PNG, `
        + "EXR, HDR), meshes in one file (GLB, glTF, OBJ, PLY, STL), panoramas of light (EXR, HDR) and cameras "
        + "(YAML, JSON).");
    }
    for (const {file, kind: what} of known) if (!await this.send(file, what)) break;
  }

  async send(file, kind) {
    this.sending += 1;
    this.store.set({upload: {name: file.name, share: 0}});
    try {
      const answer = await upload(kind, file, (share) => this.store.set({upload: {name: file.name, share}}));
      if (answer.state) this.store.receive(answer.state);
      if (kind === "asset") this.store.set({tab: "place"});
      if (kind === "hdri") this.store.set({tab: "light"});
      return true;
    } catch (problem) {
      this.messages.error(problem.message);
      return false;
    } finally {
      this.sending -= 1;
      this.store.set({upload: null});
    }
  }

  kindOf(file) {
    const end = file.name.toLowerCase().split(".").pop();
    if (ASSETS.includes(end)) return "asset";
    if (PHOTOS.includes(end)) return "plate";
    if (CAMERAS.includes(end)) return "camera";
    if (end === "exr" || end === "hdr") return this.store.state?.plate ? "ask" : "plate";
    return "unknown";
  }

  /** EXR and HDR files are photos or panoramas: a person knows which. */
  ask(file) {
    return new Promise((resolve) => {
      let answer = "none";
      const choose = (what) => () => { answer = what; box.close(); };
      const box = h("dialog", {"aria-label": "What is this file?",
        on: {close: () => { box.remove(); resolve(answer); }}},
        h("p", {}, `What is ${file.name}?`), h("div", {class: "row"}, button("A panorama of light", choose("hdri"),
          {class: "primary"}), button("A photo", choose("plate")), button("Neither", choose("none"))));
      document.body.append(box);
      box.showModal();
    });
  }

  /** Files may be dropped anywhere. */
  acceptDrops(veil) {
    let depth = 0;
    const files = (e) => [...(e.dataTransfer?.types ?? [])].includes("Files");
    addEventListener("dragenter", (e) => { if (files(e)) { depth += 1; veil.hidden = false; e.preventDefault(); } });
    addEventListener("dragleave", () => { depth = Math.max(0, depth - 1); veil.hidden = depth === 0; });
    addEventListener("dragover", (e) => { if (files(e)) e.preventDefault(); });
    addEventListener("drop", (e) => {
      depth = 0;
      veil.hidden = true;
      if (!files(e)) return;
      e.preventDefault();
      this.files(e.dataTransfer.files);
    });
  }
}
